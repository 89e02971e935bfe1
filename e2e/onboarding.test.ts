/** Two products onboard on a live hub with what an operator has: the CLI, the API, the checklist. No code knows them. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, type RunningHub, runCli, startHub, tokenFor } from './hub-process.ts'
import {
  API_TOKEN,
  expectAllPassed,
  expectFailed,
  type Product,
  productOf,
  setUp,
  VERIFY_TOKEN,
  verify,
  whatIsLeft,
} from './onboarding-hub.ts'
import { type Sink, startSink } from './sink.ts'

/** A run takes some ten seconds, most of it in waiting for an upstream that hangs on purpose. */
const RUN_MS = 120_000

let home: HubHome
let hub: RunningHub
/** The real upstream of the products: nothing of a verification may reach it. */
let upstream: Sink
let buildos: Product
let beauty: Product

beforeAll(async () => {
  home = await hubHome({ DEMO_WORKSPACES: 'false' })
  hub = await startHub(home)
  upstream = await startSink()
})
afterAll(async () => {
  await upstream?.stop()
  await hub?.stop()
  await home?.remove()
})

async function create(slug: string, name: string): Promise<Product> {
  const made = await runCli(home, ...['workspace', 'create', slug, '--name', name, '--reason', 'onboarding'])
  expect(made.code, made.stdout + made.stderr).toBe(0)
  return productOf(home, slug)
}

describe('two products, one hub', () => {
  test(
    'buildos-dev, set up over the API, passes every line, and nothing is left of the run',
    async () => {
      buildos = await create('buildos-dev', 'BuildOS')
      await setUp(buildos, upstream.url)
      const before = await whatIsLeft(buildos)
      expectAllPassed(await verify(home, 'buildos-dev', '--reason', 'first onboarding'))
      expect(await whatIsLeft(buildos)).toEqual(before)
      const { body } = await buildos.control<{ document: { connectors: object } }>('/configs/active')
      expect(Object.keys(body.document.connectors).sort()).toEqual(['upstream', 'verify-email'])
      expect(upstream.effects).toEqual([])
    },
    RUN_MS,
  )

  test(
    'beauty-dev, set up from the bundle of the other one, passes every line as well',
    async () => {
      beauty = await create('beauty-dev', 'Beauty')
      const slug = 'onboarding-neighbour-2-dev'
      const kept = ['workspace', 'create', slug, '--name', 'Mine', '--reason', 'a try']
      expect((await runCli(home, ...kept)).stderr).toContain('is reserved')
      const file = join(home.dataDir, 'bundle.json')
      const exported = await runCli(home, 'bundle', 'export', '--workspace', 'buildos-dev', '--file', file)
      expect(exported.code, exported.stderr).toBe(0)
      await beauty.change('PUT', '/secret-refs/api-token/value', { value: `${API_TOKEN}-of-beauty` })
      await beauty.change('PUT', '/secret-refs/verify-token/value', { value: VERIFY_TOKEN })
      const applied = await runCli(
        home,
        ...[
          'bundle',
          'apply',
          '--workspace',
          'beauty-dev',
          '--file',
          file,
          '--remap',
          '--reason',
          'onboarding',
        ],
      )
      expect(applied.code, applied.stdout + applied.stderr).toBe(0)
      expectAllPassed(await verify(home, 'beauty-dev'))
    },
    RUN_MS,
  )

  test(
    'an edit, then a verification, then a rollback without a version: the edit is undone, and nothing else',
    async () => {
      const timeouts = { attempt_ms: 4_000, total_ms: 10_000 }
      await buildos.change('PUT', '/policies/default', { policy: { timeouts } })
      expectAllPassed(await verify(home, 'buildos-dev'))
      await buildos.change('POST', '/configs/rollback')
      const { body } = await buildos.control<{ document: { policies: object; connectors: object } }>(
        '/configs/active',
      )
      expect(body.document.policies).toMatchObject({
        default: { timeouts: { attempt_ms: 5_000, total_ms: 10_000 } },
      })
      expect(Object.keys(body.document.connectors).sort()).toEqual(['upstream', 'verify-email'])
    },
    RUN_MS,
  )

  test('every change of a run is in the audit log of the workspace, with the reason that was given', async () => {
    const { body } = await buildos.control<{ data: { action: string; actor: string; reason: string }[] }>(
      '/audit?limit=200',
    )
    const ofRun = body.data.filter(({ reason }) => reason.endsWith('first onboarding'))
    const actions = new Set(ofRun.map(({ action }) => action))
    for (const action of ['identity.created', 'identity.revoked', 'config.activated'])
      expect(actions).toContain(action)
    expect(new Set(ofRun.map(({ actor }) => actor))).toContain('svc:onboarding-verification')
  })
})

describe('one thing at a time is broken, and exactly that line fails', () => {
  test(
    'a secret that does not resolve',
    async () => {
      const file = join(home.dataDir, 'secrets', 'beauty-dev', 'old')
      await mkdir(join(home.dataDir, 'secrets', 'beauty-dev'), { recursive: true, mode: 0o700 })
      await writeFile(file, 'only for a while', { mode: 0o600 })
      await beauty.change('PUT', '/secret-refs/old', { ref: 'file://old' })
      await rm(file)
      expectFailed(await verify(home, 'beauty-dev'), 'secrets-resolve', /old .*does not resolve/)
      const { status } = await beauty.control('/secret-refs/old?reason=onboarding', { method: 'DELETE' })
      expect(status).toBe(204)
    },
    RUN_MS,
  )

  test(
    'limits that are switched off, and a default policy that is gone',
    async () => {
      const off = { mode: 'off', permits: 1, period_ms: 1_000, burst: 1 }
      await beauty.change('PUT', '/policies/default', {
        policy: { rate_limits: { workspace: off, connector: off } },
      })
      expectFailed(await verify(home, 'beauty-dev'), 'default-policy', /rate limits/)
      await beauty.control('/policies/default?reason=onboarding', {
        method: 'DELETE',
        headers: { 'if-match': '*' },
      })
      expectFailed(await verify(home, 'beauty-dev'), 'default-policy', /no policy `default`/)
    },
    RUN_MS,
  )

  test(
    'a secret in a row of the workspace, and a breaker that is off by choice does not apply',
    async () => {
      await beauty.change('PUT', '/policies/default', { policy: { breaker: { mode: 'off' } } })
      const exec = await tokenFor(home, 'exec', '--workspace', 'beauty-dev')
      const leaked = { connector: 'upstream', operation: 'ping', input: { note: `${API_TOKEN}-of-beauty` } }
      const later = new Date(Date.now() + 3_600_000).toISOString()
      const { status } = await call(`${hub.urls.exec}/jobs`, {
        token: exec,
        body: { ...leaked, run_at: later },
      })
      expect(status).toBe(202)
      const report = await verify(home, 'beauty-dev')
      expectFailed(report, 'secrets-not-in-database', /api-token stands in the table/)
      expect(report.lines['timeout-retry-breaker']).toBe('n/a')
      expect(report.stdout).not.toContain(API_TOKEN)
    },
    RUN_MS,
  )
})

test(
  'a second run of the same workspace is refused while the first one goes on',
  async () => {
    const [first, second] = await Promise.all([
      runCli(home, 'onboard', 'verify', 'buildos-dev'),
      runCli(home, 'onboard', 'verify', 'buildos-dev'),
    ])
    const refused = [first, second].find(({ stderr }) => stderr.includes('being verified already'))
    expect(refused?.code).toBe(1)
    expect([first, second].map(({ code }) => code).sort()).toEqual([0, 1])
  },
  RUN_MS,
)

test('a slug that is not there, and words that are none of the command', async () => {
  expect(await runCli(home, 'onboard', 'verify', 'nobody-dev')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('The hub has no workspace nobody-dev'),
  })
  expect(await runCli(home, 'onboard', 'everything')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('onboard verify SLUG'),
  })
})
