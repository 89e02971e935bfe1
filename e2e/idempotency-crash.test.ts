/**
 * A call with an idempotency key, and a process that dies at each place where something is written: nothing is lost,
 * an answer comes, and an upstream that honours our key has one effect. The upstream lives in the test.
 */
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Client } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { type Answer, call } from './hub-client.ts'
import { type HubHome, hubHome, type RunningCommand, runCli, startRole, tokenFor } from './hub-process.ts'

const SLUG = 'shop-dev'
const reason = 'end to end'
const TEST_MS = 120_000
const WITHIN = { timeout: 60_000, interval: 100 }

const POINTS = ['before_claim', 'after_claim', 'after_send', 'before_store', 'after_store'] as const
/** Up to here the upstream has heard nothing. */
const BEFORE_SENDING: readonly string[] = ['before_claim', 'after_claim']

interface Execution {
  readonly execution_id: string
  readonly state: string
}

let database: { readonly url: string; drop(): Promise<void> }
let home: HubHome
let exec: RunningCommand | undefined
let upstream: Awaited<ReturnType<typeof startUpstream>>
const tokens = { exec: '', control: '' }

/** An upstream with a memory of keys on `/keyed`: it has an effect for each key once. On `/plain` it has one for each request. */
async function startUpstream() {
  const effects = new Map<string, number>()
  const had = (name: string) => effects.set(name, (effects.get(name) ?? 0) + 1)
  const answers = new Map<string, string>()
  const keys = new Map<string, Set<string>>()
  const server = createServer(async (request, response: ServerResponse) => {
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const { marker } = JSON.parse(Buffer.concat(chunks).toString('utf8')) as { marker: string }
    const key = String(request.headers['idempotency-key'])
    keys.set(marker, (keys.get(marker) ?? new Set()).add(key))
    const first = request.url === '/keyed' ? answers.get(key) : undefined
    if (first === undefined) had(marker)
    const answer = first ?? JSON.stringify({ taken: marker, effect: effects.get(marker) })
    answers.set(key, answer)
    response.writeHead(200, { 'content-type': 'application/json' }).end(answer)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    effectsOf: (marker: string) => effects.get(marker) ?? 0,
    keysOf: (marker: string) => [...(keys.get(marker) ?? [])],
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

const operation = (path: string, more: object) => ({
  method: 'POST',
  path,
  body: '{{input}}',
  input: { type: 'object', properties: { marker: { type: 'string' } }, required: ['marker'] },
  ...more,
})

beforeAll(async () => {
  database = await emptyDatabase()
  home = await hubHome({ DATABASE_URL: database.url })
  upstream = await startUpstream()
  expect((await runCli(home, 'migrate')).code).toBe(0)
  await startRole(home, 'control')
  const admin = await tokenFor(home, 'control', '--platform-admin')
  const made = { slug: SLUG, name: 'Shop', template: 'empty', reason }
  expect((await call(`${home.urls.control}/workspaces`, { token: admin, body: made })).status).toBe(201)
  tokens.exec = await tokenFor(home, 'exec', '--workspace', SLUG)
  tokens.control = await tokenFor(home, 'control', '--workspace', SLUG)
  const connector = {
    kind: 'http',
    settings: {
      base_url: upstream.url,
      operations: {
        keyed: operation('/keyed', { idempotency_key_header: 'Idempotency-Key' }),
        plain: operation('/plain', {}),
      },
    },
  }
  const put = { method: 'PUT', token: tokens.control, body: { connector, reason } }
  expect((await call(`${home.urls.control}/connectors/shop`, put)).status).toBe(200)
}, TEST_MS)
afterAll(async () => {
  await upstream.stop()
  await home.remove()
  await database.drop()
})
beforeEach(() => {
  exec = undefined
})

const execute = (name: string, marker: string, headers: Record<string, string> = {}): Promise<Answer> =>
  call(`${home.urls.exec}/execute`, {
    token: tokens.exec,
    headers: { 'idempotency-key': `key-of-${marker}`, ...headers },
    body: { connector: 'shop', operation: name, input: { marker } },
  })

/** Calls, and sees the process die of it. */
async function callAndDie(point: string, name: string, marker: string): Promise<void> {
  const doomed = await startRole(home.with({ FAIL_POINTS: `execute.${point}` }), 'exec')
  await expect(execute(name, marker)).rejects.toThrow()
  expect((await doomed.ended).signal).toBe('SIGKILL')
}

/** Nobody has time for the real lease: whoever held one is dead, which the test knows and the hub cannot. */
async function endLeases(): Promise<void> {
  const client = new Client({ connectionString: database.url })
  await client.connect()
  await client.query(`update execution_key set lease_until = clock_timestamp() - interval '1 second'
                      where state = 'running'`)
  await client.end()
}

const stateOf = async (marker: string): Promise<Execution | undefined> => {
  const { body } = await call<{ data: (Execution & { key: string })[] }>(
    `${home.urls.control}/executions?limit=200`,
    { token: tokens.control },
  )
  return body.data.find(({ key }) => key === `key-of-${marker}`)
}

describe.each(POINTS)('a process that dies at %s', (point) => {
  test(
    'leaves one effect at an upstream that honours keys, and who repeats the call gets its answer',
    async () => {
      const marker = `keyed-${point}`
      await callAndDie(point, 'keyed', marker)
      exec = await startRole(home, 'exec')
      const inFlight = point !== 'before_claim' && point !== 'after_store'
      if (inFlight) {
        expect(await execute('keyed', marker)).toMatchObject({
          status: 409,
          body: { code: 'idempotency_in_flight' },
        })
        await endLeases()
      }
      const answer = await execute('keyed', marker)
      expect(answer).toMatchObject({ status: 200, body: { output: { taken: marker, effect: 1 } } })
      expect(answer.headers.get('idempotent-replayed')).toBe(point === 'after_store' ? 'true' : null)
      expect(upstream.effectsOf(marker)).toBe(1)
      expect((await execute('keyed', marker)).body).toMatchObject({ idempotency: { replayed: true } })
      // One over both processes, and of the execution: the caller's is no key of the provider.
      expect(upstream.keysOf(marker)).toEqual([`orch-${answer.body.execution_id}`])
      expect(upstream.effectsOf(marker)).toBe(1)
      await exec.stop('SIGTERM')
    },
    TEST_MS,
  )

  test(
    'never doubles an effect at an upstream without keys; what nobody knows is said, and settled by an operator',
    async () => {
      const marker = `plain-${point}`
      await callAndDie(point, 'plain', marker)
      const sent = BEFORE_SENDING.includes(point) ? 0 : 1
      expect(upstream.effectsOf(marker)).toBe(sent)
      exec = await startRole(home, 'exec')
      if (point === 'before_claim' || point === 'after_store') {
        expect(await execute('plain', marker)).toMatchObject({ status: 200, body: { output: { effect: 1 } } })
        expect(upstream.effectsOf(marker)).toBe(1)
      } else {
        await endLeases()
        const unknown = await execute('plain', marker)
        expect(unknown).toMatchObject({
          status: 502,
          body: {
            outcome: 'unknown',
            retryable: false,
            settle: expect.stringMatching(/^\/executions\/.+\/settle$/),
          },
        })
        expect(unknown.headers.get('idempotent-replayed')).toBe('true')
        expect(upstream.effectsOf(marker)).toBe(sent)
        const body =
          sent === 1 ? { outcome: 'done', output: { told: marker }, reason } : { outcome: 'not_done', reason }
        const settled = await call(`${home.urls.control}${unknown.body.settle}`, {
          token: tokens.control,
          body,
        })
        expect(settled.status).toBe(200)
        const after = await execute('plain', marker)
        expect(after).toMatchObject({
          status: 200,
          body:
            sent === 1
              ? { output: { told: marker }, settled_by: expect.any(String) }
              : { output: { effect: 1 } },
        })
        expect(upstream.effectsOf(marker)).toBe(1)
      }
      await exec.stop('SIGTERM')
    },
    TEST_MS,
  )
})

test(
  'a worker settles what nobody asks for again',
  async () => {
    await callAndDie('before_store', 'keyed', 'forgotten')
    await endLeases()
    const worker = await startRole(home, 'worker')
    await vi.waitFor(async () => expect((await stateOf('forgotten'))?.state).toBe('finished'), WITHIN)
    expect(upstream.effectsOf('forgotten')).toBe(1)
    await worker.stop('SIGTERM')
  },
  TEST_MS,
)
