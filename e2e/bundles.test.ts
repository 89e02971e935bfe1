/** A workspace that lives in a file: exported, planned and applied by the CLI, into another workspace too. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { sendStripeEvent, signedStripeEvent } from '../server/src/commands/demo/stripe-event.ts'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, type RunningHub, runCli, startHub, tokenFor } from './hub-process.ts'
import { type Sink, sinkConnector, startSink, taking } from './sink.ts'

const FROM = 'buildos-dev'
const INTO = 'copy-dev'
const reason = 'a test of bundles'
const WITHIN = { timeout: 20_000, interval: 50 }
const STRIPE = `whsec_${Buffer.alloc(24, 3).toString('base64')}`

let home: HubHome
let hub: RunningHub
let sink: Sink
let file: string
const tokens: Record<string, { exec: string; control: string }> = {}

beforeAll(async () => {
  home = await hubHome()
  sink = await startSink()
  hub = await startHub(home)
  file = join(home.dataDir, 'bundle.json')
  const admin = await tokenFor(home, 'control', '--platform-admin')
  const made = await call(`${hub.urls.control}/workspaces`, {
    token: admin,
    body: { slug: INTO, name: 'Copy', reason },
  })
  expect(made.status).toBe(201)
  for (const slug of [FROM, INTO])
    tokens[slug] = {
      exec: await tokenFor(home, 'exec', '--workspace', slug),
      control: await tokenFor(home, 'control', '--workspace', slug),
    }
  // The values stay where they are: each workspace has its own, under the same names.
  const secrets = join(home.dataDir, 'secrets', INTO)
  await mkdir(secrets, { recursive: true, mode: 0o700 })
  for (const name of ['callback-signing-secret', 'stripe-webhook-secret'])
    await writeFile(join(secrets, name), STRIPE, { mode: 0o600 })
})
afterAll(async () => {
  await sink.stop()
  await home.remove()
})

const control = <Body = Record<string, unknown>>(slug: string, path: string, body?: object, method = 'PUT') =>
  call<Body>(`${hub.urls.control}${path}`, {
    token: tokens[slug]?.control ?? '',
    ...(body && { method, body: { ...body, reason } }),
  })
const bundle = (...args: string[]) => runCli(home, 'bundle', ...args)
const withoutOrigin = (text: string): unknown => ({ ...JSON.parse(text), workspace: null })
const policyOf = async (slug: string, connector: string, operation?: string) =>
  (
    await control(
      slug,
      `/policies/effective?connector=${connector}${operation === undefined ? '' : `&operation=${operation}`}`,
    )
  ).body

describe('a workspace as a file', () => {
  test('is the same text each time, without times, ids and values', async () => {
    const limits = { policy: { timeouts: { attempt_ms: 4_000 }, retry: { max_attempts: 2 } } }
    expect((await control(FROM, '/policies/careful', limits)).status).toBe(200)
    const connector = { ...sinkConnector(sink.url), policy: 'careful' }
    expect((await control(FROM, '/connectors/sink', { connector })).status).toBe(200)
    expect(await bundle('export', '--workspace', FROM, '--file', file)).toMatchObject({ code: 0, stderr: '' })
    const text = await readFile(file, 'utf8')
    const again = await bundle('export', '--workspace', FROM)
    expect(again.stdout).toBe(text)
    expect(text).not.toMatch(/exported_at|[0-9a-f]{8}-[0-9a-f]{4}-7|whsec_/)
  })

  test('that nobody has changed plans nothing; exit code 0', async () => {
    const { code, stdout } = await bundle('plan', '--workspace', FROM, '--file', file)
    expect(stdout).toMatch(/^0 to create, 0 to change, 0 to remove, \d+ unchanged\.\n$/)
    expect(code).toBe(0)
  })

  test('of another workspace has to be meant; then the plan is told, and the exit code is 2', async () => {
    const refused = await bundle('plan', '--workspace', INTO, '--file', file)
    expect(refused.code).toBe(1)
    expect(refused.stderr).toContain(`is another workspace than ${INTO}`)
    const { code, stdout } = await bundle('plan', '--workspace', INTO, '--file', file, '--remap')
    expect(stdout).toContain('+ connector sink\n')
    expect(stdout).toMatch(/^\+ webhook_route stripe\/own\/test/m)
    expect(code).toBe(2)
    expect((await control(INTO, '/connectors/sink')).status).toBe(404)
  })

  test('is applied once; again it changes nothing', async () => {
    const args = ['--workspace', INTO, '--file', file, '--remap', '--reason', 'from git']
    const { code, stdout, stderr } = await bundle('apply', ...args)
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^\+ connector sink$/m)
    expect(stdout).toMatch(/Done: version \d+ of the config of copy-dev is active\.\n$/)
    expect(code).toBe(0)
    const audit = await control<{ data: { action: string; reason: string }[] }>(INTO, '/audit?limit=1')
    expect(audit.body.data).toMatchObject([{ action: 'bundle.imported', reason: 'from git' }])
    const again = await bundle('apply', ...args)
    expect(again.stdout).toContain(`Nothing to do: ${INTO} is so already.`)
    expect((await bundle('plan', ...args.slice(0, 5))).code).toBe(0)
    expect((await control(INTO, '/audit?limit=1')).body.data).toEqual(audit.body.data)
  })
})

describe('the copy behaves as its original', () => {
  test('document, refs and routes are the same', async () => {
    const [original, copy] = await Promise.all(
      [FROM, INTO].map((slug) => bundle('export', '--workspace', slug)),
    )
    expect(withoutOrigin(copy?.stdout ?? '')).toEqual(withoutOrigin(original?.stdout ?? ''))
  })

  test('the policies in force are the same, value by value, with the same sources', async () => {
    for (const [connector, operation] of [
      ['sink', 'take'],
      ['sink'],
      ['hub', 'health'],
      ['product', 'deliver'],
    ]) {
      const [left, right] = [
        await policyOf(FROM, connector ?? '', operation),
        await policyOf(INTO, connector ?? '', operation),
      ]
      expect(left).toHaveProperty('policy')
      expect({ ...right, config_version: 0 }).toEqual({ ...left, config_version: 0 })
    }
  })

  test.each([
    ['a call', taking('same')],
    ['an input that does not fit', { ...taking('same'), input: { marker: 7 } }],
    ['an operation that is none', { ...taking('same'), operation: 'none' }],
    ['a dry run', { ...taking('same'), options: { dry_run: true } }],
  ])('%s gets the same answer', async (what, body) => {
    const answers = []
    for (const slug of [FROM, INTO])
      answers.push(
        await vi.waitFor(async () => {
          const answer = await call(`${hub.urls.exec}/execute`, {
            token: tokens[slug]?.exec ?? '',
            headers: { 'idempotency-key': `the same ${what}` },
            body,
          })
          expect(answer.body.code).not.toBe('connector_not_found')
          return answer
        }, WITHIN),
      )
    const [original, copy] = answers.map(
      ({ status, body: { output, status: ok, code, details, detail } }) => ({
        status,
        ok,
        output,
        code,
        details,
        detail,
      }),
    )
    expect(copy).toEqual(original)
  })

  test('a webhook goes the same way, told apart by the secret of each', async () => {
    const values = {
      [FROM]: (await readFile(join(home.dataDir, 'secrets', FROM, 'stripe-webhook-secret'), 'utf8')).trim(),
      [INTO]: STRIPE,
    }
    const jobs: unknown[] = []
    for (const [slug, secret] of Object.entries(values)) {
      const event = await signedStripeEvent({ type: 'invoice.paid', secret })
      const sent = await vi.waitFor(async () => {
        const answer = await sendStripeEvent(hub.urls.ingress, event)
        expect(answer.status).toBe(200)
        return answer
      }, WITHIN)
      expect(sent.status).toBe(200)
      type Jobs = { data: { connector: string; operation: string; queue: string; priority: number }[] }
      const { body } = await control<Jobs>(slug, '/jobs?connector=product')
      jobs.push(
        body.data.map(({ connector, operation, queue, priority }) => ({
          connector,
          operation,
          queue,
          priority,
        })),
      )
    }
    expect(jobs[0]).toHaveLength(1)
    expect(jobs[1]).toEqual(jobs[0])
  })
})

describe('a change of the file', () => {
  test('is shown field by field and applied; what somebody changed besides goes', async () => {
    const { policy } = (await control<{ policy: object }>(INTO, '/policies/careful')).body
    await control(INTO, '/policies/by-hand', { policy })
    const text = (await readFile(file, 'utf8')).replace('"attempt_ms": 4000', '"attempt_ms": 3000')
    await writeFile(file, text)
    const { stdout, code } = await bundle('apply', '--workspace', INTO, '--file', file, '--remap')
    expect(stdout).toContain('- policy by-hand\n~ policy careful\n    /timeouts/attempt_ms: 4000 → 3000\n')
    expect(code).toBe(0)
    expect((await control(INTO, '/policies/by-hand')).status).toBe(404)
    // One action back: the version before is still there.
    const back = await control<{ document: { policies: object } }>(INTO, '/configs/rollback', {}, 'POST')
    expect(back.status).toBe(200)
    expect(back.body.document.policies).toHaveProperty('by-hand')
  })

  test.each([
    ['no JSON', '{', 'is not JSON'],
    ['an unknown field', '{"format":1,"secrets":{}}', '/body/bundle/secrets is not a known field'],
  ])('%s is refused with every fault and exit code 1', async (_what, text, words) => {
    await writeFile(file, text)
    const { code, stderr } = await bundle('plan', '--workspace', INTO, '--file', file)
    expect(stderr).toContain(words)
    expect(stderr).not.toMatch(/^\s+at /m)
    expect(code).toBe(1)
  })

  test('a file that cannot be read or written is named, and no setting is blamed', async () => {
    for (const [action, done] of [
      ['plan', 'read'],
      ['export', 'written'],
    ] as const)
      expect(await bundle(action, '--workspace', INTO, '--file', '/nowhere/b.json')).toMatchObject({
        code: 1,
        stderr: `The file /nowhere/b.json cannot be ${done}: there is no such file or folder.\n`,
      })
  })

  test('a missing argument and a wrong command are told without a stack', async () => {
    for (const args of [['plan', '--workspace', INTO], ['apply']]) {
      const { code, stderr } = await bundle(...args)
      expect(code).toBe(1)
      expect(stderr).not.toMatch(/^\s+at /m)
    }
  })
})
