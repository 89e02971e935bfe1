/** The checklist on a hub whose processes live alone, with one of them gone, and after a crash in the middle of a run. */
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { call } from './hub-client.ts'
import {
  freePorts,
  type HubHome,
  hubHome,
  type Role,
  type RunningCommand,
  runCli,
  startCommand,
  startRole,
  tokenFor,
  untilItSays,
} from './hub-process.ts'
import { expectFailed, type Product, productOf, setUp, verify, whatIsLeft } from './onboarding-hub.ts'

const RUN_MS = 120_000
const SLUG = 'shop-dev'
const HUB: readonly Role[] = ['control', 'exec', 'ingress', 'worker']

let database: { readonly url: string; drop(): Promise<void> }
let owner: Client
let home: HubHome
let product: Product
const running = new Map<Role, RunningCommand>()

const start = async (role: Role): Promise<void> => {
  running.set(role, await startRole(home, role))
}

beforeAll(async () => {
  database = await emptyDatabase()
  owner = new Client({ connectionString: database.url })
  await owner.connect()
  home = await hubHome({ DATABASE_URL: database.url, LIMITS: 'per-node' })
  expect((await runCli(home, 'migrate')).code).toBe(0)
  await Promise.all(HUB.map(start))
  const token = await tokenFor(home, 'control', '--platform-admin')
  const made = { slug: SLUG, name: 'Shop', reason: 'onboarding' }
  expect((await call(`${home.urls.control}/workspaces`, { token, body: made })).status).toBe(201)
  product = await productOf(home, SLUG)
  await setUp(product, 'http://127.0.0.1:1')
  await product.change('POST', '/webhook-routes', {
    provider: 'stripe',
    account: 'acct_verifyshop',
    livemode: false,
    connector: 'verify-email',
    secret_refs: ['verify-token'],
  })
})
afterAll(async () => {
  await owner?.end()
  await home?.remove()
  await database?.drop()
})

test(
  'on processes of their own every line passes, but for the log, which is not in a file',
  async () => {
    const { code, lines, failed, stdout } = await verify(home, SLUG)
    expect(failed, stdout).toEqual([])
    expect(Object.entries(lines).filter(([, status]) => status !== 'ok')).toEqual([
      ['secrets-not-in-log', 'n/a'],
    ])
    expect(code).toBe(0)
  },
  RUN_MS,
)

test(
  'a target that somebody has named is called instead of one on loopback',
  async () => {
    const [port = 0] = await freePorts(1)
    const target = startCommand(home, ['onboard', 'target', '--listen', `127.0.0.1:${port}`])
    const url = `http://127.0.0.1:${port}`
    await untilItSays(target, new RegExp(`VERIFY_TARGET_URL=${url}`))
    const { failed, stdout } = await verify(home, SLUG, '--target', url)
    expect(failed, stdout).toEqual([])
    expect(stdout).toMatch(new RegExp(`^ok +fault-target +${url}$`, 'm'))
    expect(await target.stop()).toMatchObject({ code: 0, stderr: '' })
    expectFailed(await verify(home, SLUG, '--target', url), 'fault-target', /does not answer/)
  },
  RUN_MS,
)

test(
  'where loopback is closed, what needs a target does not apply, and nothing fails',
  async () => {
    await running.get('control')?.stop('SIGTERM')
    running.set('control', await startRole(home.with({ OUTBOUND_ALLOW_CIDRS: 'none' }), 'control'))
    const { lines, failed, stdout, code } = await verify(home, SLUG)
    await running.get('control')?.stop('SIGTERM')
    await start('control')
    expect(failed, stdout).toEqual([])
    expect(code).toBe(0)
    for (const name of ['fault-target', 'execute', 'webhook-to-callback', 'dead-letters', 'isolation-limits'])
      expect(lines[name]).toBe('n/a')
    for (const name of ['tokens', 'default-policy', 'secrets-not-in-database']) expect(lines[name]).toBe('ok')
    expect(stdout).toMatch(/^n\/a +execute .*onboard target/m)
  },
  RUN_MS,
)

describe.each(['ingress', 'worker', 'exec'] as const)('with %s gone', (role) => {
  test(
    'its line fails, and what needs it is not tried',
    async () => {
      await running.get(role)?.killHard()
      const report = await verify(home, SLUG)
      await start(role)
      expectFailed(report, `process-${role}`, /answers at http/)
      expect(report.stdout).toMatch(new RegExp(`^n/a .*Not tried, because process-${role} failed`, 'm'))
    },
    RUN_MS,
  )
})

test(
  'a run that dies with control leaves things behind, and control takes them away when it is back',
  async () => {
    const before = await whatIsLeft(product)
    // The search through the tables, one of the last lines, rests meanwhile: the run cannot end before the kill.
    const search = 'tenant_rows_as_text'
    await owner.query(`alter function ${search} rename to searched_in_earnest`)
    await owner.query(
      `create function ${search}(regclass, text, uuid, bigint, bigint, int) returns setof text
       language sql as $$ select ''::text from pg_sleep(15) $$`,
    )
    const first = startCommand(home, ['onboard', 'verify', SLUG])
    await untilItSays(first, /^ok +neighbour/m)
    await running.get('control')?.killHard()
    await owner.query(`drop function ${search}`)
    await owner.query(`alter function searched_in_earnest rename to ${search}`)
    expect((await first.ended).code).toBe(1)
    await start('control')
    await vi.waitFor(async () => expect(await whatIsLeft(product)).not.toEqual(before))
    const refused = await runCli(home, 'onboard', 'verify', SLUG)
    expect(refused.stderr).toContain('being verified already')
    await running.get('control')?.stop('SIGTERM')
    await owner.query(
      `update onboarding_run set alive_at = now() - interval '2 minutes' where state = 'running'`,
    )
    await start('control')
    await vi.waitFor(async () => expect(await whatIsLeft(product)).toEqual(before), { timeout: 20_000 })
    const { rows } = await owner.query<{ state: string; cleared: boolean }>(
      'select state, cleared from onboarding_run order by id desc limit 1',
    )
    await vi.waitFor(async () => {
      const { rows: asleep } = await owner.query(
        `select slug from workspace where slug like 'onboarding-neighbour%' and status = 'suspended'`,
      )
      expect(asleep).toHaveLength(1)
    })
    expect(rows).toMatchObject([{ state: 'broken_off' }])
  },
  RUN_MS,
)
