import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { connectorsControl } from '../connectors/connectors.control.ts'
import { policiesControl } from '../policies/policies.control.ts'
import { configsControl } from './configs.control.ts'

interface Refused {
  readonly code: string
  readonly active_version: number
  readonly seen_version: number
  readonly differences: { path: string; before?: unknown; after?: unknown }[]
  readonly more_differences: number
  readonly detail: string
}

let hub: CallingHub
let call: CallServer
let token: string
let seen: number

const policyOf = (total_ms: number) => ({ timeouts: { total_ms, attempt_ms: 1_000 } })
const api = (path: string) => ({
  kind: 'http',
  settings: { base_url: 'https://api.example.com', operations: { get: { method: 'GET', path } } },
})
const document = (path: string) => ({ policies: { slow: policyOf(20_000) }, connectors: { api: api(path) } })
const reason = 'two at once'

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  call = await hub.serve((app) => {
    configsControl(app, hub.configDeps)
    policiesControl(app, hub.configDeps)
    connectorsControl(app, hub.configDeps)
  })
})
afterAll(() => hub.close())
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId)
  seen = await hub.configure(document(`/${Math.random()}`))
})

const send = (method: 'POST' | 'PUT', url: string, body: object, ifMatch?: string) =>
  call<Refused>(method, url, token, {
    body: { ...body, reason },
    ...(ifMatch !== undefined && { headers: { 'if-match': ifMatch } }),
  })
const stored = async (path: string): Promise<number> =>
  (await call<{ version: number }>('POST', '/configs', token, { body: { document: document(path), reason } }))
    .body.version

/** Two ways to change the same thing, each with what shows that it is there. */
const SAVES: Record<string, (value: 1 | 2) => Promise<[method: 'POST' | 'PUT', url: string, body: object]>> =
  {
    '/policies/:name': async (value) => ['PUT', '/policies/slow', { policy: policyOf(value * 10_000 + 1) }],
    '/connectors/:name': async (value) => ['PUT', '/connectors/api', { connector: api(`/of-${value}`) }],
    '/configs/activate': async (value) => [
      'POST',
      '/configs/activate',
      { version: await stored(`/activated-${value}`) },
    ],
  }

describe.each(Object.entries(SAVES))('two operators at once on %s', (_url, change) => {
  test('one saves; the other is told what the first has changed, and loses nothing', async () => {
    const changes = [await change(1), await change(2)] as const
    const answers = await Promise.all(changes.map((each) => send(...each, `"${seen}"`)))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412])
    const refused = answers.find(({ status }) => status === 412)?.body
    expect(refused).toMatchObject({ code: 'version_mismatch', seen_version: seen, more_differences: 0 })
    const active = refused?.active_version ?? 0
    const diff = await call<Refused>('GET', `/configs/diff?from=${seen}&to=${active}`, token)
    expect(refused?.differences).toEqual(diff.body.differences)
    expect(refused?.differences.length).toBeGreaterThan(0)
    // With what it now knows, the second can save on top of the first.
    const second = changes[answers.findIndex(({ status }) => status === 412)] ?? changes[0]
    expect((await send(...second, `"${active}"`)).status).toBe(200)
  })

  test('who says nothing about what it saw replaces nothing, and is shown what it would have', async () => {
    const answer = await send(...(await change(1)))
    expect(answer).toMatchObject({
      status: 428,
      body: { code: 'precondition_required', active_version: seen },
    })
    expect(answer.body.differences.length).toBeGreaterThan(0)
    expect((await call<{ version: number }>('GET', '/configs/active', token)).body.version).toBe(seen)
    expect((await send(...(await change(1)), '*')).status).toBe(200)
  })

  test.each([
    ['W/"1"', /weak tag/],
    ['"1", "2"', /is a list/],
    ['"one"', /must be a version/],
    ['', /must be a version/],
    ['"1', /must be a version/],
    ['99999999999', /must be a version/],
  ])('If-Match: %s is refused in words that help', async (ifMatch, words) => {
    const answer = await send(...(await change(1)), ifMatch)
    expect(answer).toMatchObject({ status: 400, body: { code: 'validation_error' } })
    expect(answer.body.detail).toMatch(words)
  })
})

test('a version that never was is a mismatch without a diff', async () => {
  const answer = await send('PUT', '/policies/slow', { policy: policyOf(5_000) }, '"4294967295"')
  expect(answer).toMatchObject({ status: 412, body: { active_version: seen } })
  expect(answer.body).not.toHaveProperty('differences')
})

test('new names and changes that change nothing need no If-Match', async () => {
  expect((await send('PUT', `/policies/fresh-${seen}`, { policy: policyOf(5_000) })).status).toBe(200)
  expect((await send('PUT', `/policies/fresh-${seen}`, { policy: policyOf(5_000) })).status).toBe(200)
})

test('a diff too long for an error is cut, and says by how much', async () => {
  const policies = Object.fromEntries(
    Array.from({ length: 150 }, (_, at) => [`p${at}`, policyOf(5_000 + at)]),
  )
  await hub.configure({ ...document('/many'), policies: { ...policies, slow: policyOf(20_000) } })
  const answer = await send('PUT', '/policies/slow', { policy: policyOf(6_000) }, `"${seen}"`)
  expect(answer.body.differences).toHaveLength(100)
  expect(answer.body.more_differences).toBe(51)
  expect(Buffer.byteLength(answer.text)).toBeLessThan(64 * 1024)
})
