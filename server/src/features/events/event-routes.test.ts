import type { ServerResponse } from 'node:http'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { accessAs } from '../../../testing/access-as.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { openSse, type SseStream } from '../../../testing/sse-client.ts'
import { run } from '../../platform/db/statement.ts'
import { appendEvents, type EventRecord } from '../../platform/event-log.ts'
import { createHttpServer, type HttpServer } from '../../platform/http/server.ts'
import { newId } from '../../platform/ids.ts'
import { createLog } from '../../platform/log.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { Problem } from '../../problems.ts'
import type { StreamLimits } from './event-routes.ts'
import { eventsControl } from './events.control.ts'
import { eventsExec } from './events.exec.ts'
import { createEventHints } from './events.ts'

const LIMITS: Partial<StreamLimits> = {
  pollMs: 20,
  heartbeatMs: 100,
  askMs: 50,
  perTenant: 3,
  perProcess: 4,
  sliceSize: 20,
}

/** A place that no log has reached yet. */
const BEYOND = Buffer.from('["4611686018427387904",1]').toString('base64url')

let database: TestDatabase
let server: TestServer
let tenantId: string
let otherId: string
let open: SseStream[]

interface TestServer {
  readonly app: HttpServer
  readonly url: string
  /** The raw answers of all requests, in order. */
  readonly answers: ServerResponse[]
  readonly openStreams: () => Promise<number>
}

/** `Bearer <tenant> <scope> [<life in ms>]`: the verification of real tokens has tests of its own. */
function callerOf(header: string | undefined) {
  const [tenant, scope, life = '60000'] = header?.replace('Bearer ', '').split(' ') ?? []
  if (!tenant || !scope) throw new Problem('auth_required', 'A valid bearer token is required.')
  return {
    tenantId: tenant,
    scopes: new Set([scope]),
    expiresAt: Date.now() + Number(life),
  }
}

/** Every workspace is active until its id is put here; the real directory has tests of its own. */
const suspended = new Set<string>()
/** Workspaces whose tokens have ended. */
const ended = new Set<string>()
const reasonToStop = async ({ tenantId: id }: { tenantId: string }) =>
  suspended.has(id) ? ('workspace_suspended' as const) : ended.has(id) ? ('token_ended' as const) : undefined

async function startServer(limits: Partial<StreamLimits> = {}, mount = eventsExec): Promise<TestServer> {
  const metrics = createMetrics('test', false)
  const platform = { ...database.platform, metrics }
  const app = await createHttpServer({
    log: createLog('test', 'silent'),
    metrics,
    trustedProxies: [],
    bodyLimitBytes: 10_000,
    handlerTimeoutMs: 5_000,
    checks: [],
    access: accessAs(callerOf, mount === eventsControl ? 'control' : 'exec'),
  })
  const answers: ServerResponse[] = []
  app.addHook('onRequest', async (_request, reply) => {
    answers.push(reply.raw)
  })
  mount(app, platform, reasonToStop, { ...LIMITS, ...limits })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const openStreams = async () =>
    (await metrics.registry.getSingleMetric('orchestrator_event_streams_open')?.get())?.values[0]?.value ?? 0
  return { app, url, answers, openStreams }
}

const bearer = (tenant = tenantId, scope = 'orchestrator.events.read', life = 60_000) =>
  `Bearer ${tenant} ${scope} ${life}`

async function stream(query = '', headers: Record<string, string> = {}): Promise<SseStream> {
  const opened = await openSse(`${server.url}/events/stream${query}`, { authorization: bearer(), ...headers })
  open.push(opened)
  return opened
}

const get = (path: string, authorization = bearer()) =>
  server.app.inject({ method: 'GET', url: path, headers: { authorization } })

const append = (...events: Partial<EventRecord>[]) =>
  appendEvents(database.db, {
    events: events.map((event) => ({ tenant_id: tenantId, type: 'test.happened', ...event })),
  })

const typesOf = ({ events }: SseStream) =>
  events.map(({ data }) => (JSON.parse(data) as { type: string }).type)

beforeAll(async () => {
  database = await testDatabase()
})

afterAll(() => database.drop())

beforeEach(async () => {
  tenantId = newId()
  otherId = newId()
  open = []
  server = await startServer()
})

afterEach(async () => {
  for (const each of open) each.drop()
  await server.app.close()
})

describe('GET /events', () => {
  /** The list of a tenant once it has `count` events; transactions of other test files may hold back the horizon. */
  const listOf = (count: number, path: string) =>
    vi.waitFor(async () => {
      const answer = await get(path)
      const body = answer.json<{ data: { id: string; type: string }[]; next_cursor: string | null }>()
      expect(body.data?.length, answer.body).toBe(count)
      return body
    })

  test('leads through the log by cursor, oldest or newest first', async () => {
    await append({ type: 'a' }, { type: 'b' }, { type: 'c' })
    expect((await listOf(3, '/events')).data.map(({ type }) => type)).toEqual(['a', 'b', 'c'])
    const first = await listOf(2, '/events?limit=2')
    const second = await listOf(1, `/events?limit=2&cursor=${first.next_cursor}`)
    expect([...first.data, ...second.data].map(({ type }) => type)).toEqual(['a', 'b', 'c'])
    expect(second.next_cursor).toBeNull()
    const newest = await listOf(2, '/events?order=desc&limit=2')
    expect(newest.data.map(({ type }) => type)).toEqual(['c', 'b'])
    expect((await listOf(1, `/events?order=desc&cursor=${newest.next_cursor}`)).data[0]?.type).toBe('a')
    // A poller at the end of the log goes on from the last id.
    await append({ type: 'd' })
    const last = second.data[0]?.id
    expect((await listOf(1, `/events?cursor=${last}`)).data[0]?.type).toBe('d')
  })

  test('shows one event as documented', async () => {
    await append({ type: 'job.done', connector: 'mail', data: { attempts: 2 } })
    expect((await listOf(1, '/events?type=job.done')).data[0]).toEqual({
      id: expect.any(String),
      at: expect.stringMatching(/^\d{4}-.*Z$/),
      type: 'job.done',
      severity: 'info',
      message: '',
      connector: 'mail',
      job_id: null,
      inbox_id: null,
      request_id: null,
      correlation_id: null,
      trace_id: null,
      data: { attempts: 2 },
    })
  })

  test.each([
    ['cursor=nonsense', '/query/cursor'],
    [`cursor=${BEYOND}`, '/query/cursor'],
    ['limit=0', '/query/limit'],
    ['limit=many', '/query/limit'],
    ['order=sideways', '/query/order'],
    ['severity=fatal', '/query/severity'],
    ['job_id=42', '/query/job_id'],
    ['trace_id=XYZ', '/query/trace_id'],
    ['tenant_id=01900000-0000-7000-8000-000000000001', '/query/tenant_id'],
  ])('refuses ?%s and names the field', async (query, path) => {
    const answer = await get(`/events?${query}`)
    expect(answer.statusCode).toBe(400)
    expect(answer.json()).toMatchObject({ code: 'validation_error', details: [{ path }] })
  })

  test('shows nothing of another tenant, not even by its job or cursor', async () => {
    const jobId = newId()
    await append({ tenant_id: otherId, type: 'secret.thing', job_id: jobId })
    await append({ type: 'mine' })
    const mine = await listOf(1, '/events')
    expect(mine.data[0]?.type).toBe('mine')
    expect((await get(`/events?job_id=${jobId}`)).json()).toEqual({ data: [], next_cursor: null })
    const theirs = await vi.waitFor(async () => {
      const { data } = (await get('/events', bearer(otherId))).json<{ data: { id: string }[] }>()
      expect(data).toHaveLength(1)
      return data[0]?.id
    })
    expect((await get(`/events?order=desc&cursor=${theirs}`)).body).not.toContain('secret.thing')
  })

  test('needs the scope of its plane', async () => {
    expect((await get('/events', '')).statusCode).toBe(401)
    expect((await get('/events', bearer(tenantId, 'orchestrator.execute'))).statusCode).toBe(403)
    expect((await get('/events/stream', bearer(tenantId, 'orchestrator.control.read'))).statusCode).toBe(403)
    const control = await startServer({}, eventsControl)
    const ask = (scope: string) =>
      control.app.inject({ url: '/events', headers: { authorization: bearer(tenantId, scope) } })
    expect((await ask('orchestrator.control.read')).statusCode).toBe(200)
    expect((await ask('orchestrator.events.read')).statusCode).toBe(403)
    await control.app.close()
  })
})

describe('GET /events/stream', () => {
  test('starts with what happens from now on, and filters', async () => {
    await append({ type: 'before' })
    const everything = await stream()
    const retries = await stream('?type=job.retried&severity=warning')
    expect(everything.headers['content-type']).toBe('text/event-stream; charset=utf-8')
    expect(everything.headers['cache-control']).toBe('no-store')
    expect(everything.headers['x-request-id']).toBeTruthy()
    await vi.waitFor(() => expect(retries.lastEventId()).not.toBe(''))
    await append(
      { type: 'job.retried', severity: 'warning' },
      { type: 'job.retried' },
      { type: 'job.done', tenant_id: otherId },
      { type: 'job.done' },
    )
    await everything.received(3)
    await retries.received(1)
    // `before` may stand behind the horizon of the start when another test file holds a transaction open.
    expect(typesOf(everything).filter((type) => type !== 'before')).toEqual([
      'job.retried',
      'job.retried',
      'job.done',
    ])
    expect(typesOf(retries)).toEqual(['job.retried'])
  })

  test('resumes without gap or repetition however often the connection drops', async () => {
    const total = 120
    const first = await stream()
    await vi.waitFor(() => expect(first.lastEventId()).not.toBe(''))
    let lastId = first.lastEventId()
    first.drop()

    // Twelve writers side by side, ten transactions each: commits come out of order.
    const writer = async (name: number) => {
      for (let n = 0; n < 10; n += 1)
        await database.db.transaction(async (tx) => {
          await appendEvents(tx, { events: [{ tenant_id: tenantId, type: `w${name}.n${n}` }] })
          await appendEvents(tx, { events: [{ tenant_id: otherId, type: 'noise' }] })
        })
    }
    const writing = Promise.all(Array.from({ length: 12 }, (_, name) => writer(name)))

    const seen: string[] = []
    const ids: string[] = []
    while (seen.length < total) {
      const part = await stream('', { 'last-event-id': lastId })
      await part.received(Math.min(17, total - seen.length))
      part.drop()
      seen.push(...typesOf(part))
      ids.push(...part.events.map(({ id }) => id))
      lastId = part.lastEventId()
      await vi.waitFor(async () => expect(await server.openStreams()).toBe(0))
    }
    await writing

    const everything: string[] = []
    let cursor: string | null = null
    do {
      const answer = await get(`/events?limit=50${cursor ? `&cursor=${cursor}` : ''}`)
      const page = answer.json<{ data: { id: string }[]; next_cursor: string | null }>()
      everything.push(...page.data.map(({ id }) => id))
      cursor = page.next_cursor
    } while (cursor)
    expect(new Set(seen).size).toBe(total)
    expect(ids).toEqual(everything)
  })

  test('starts after a cursor, and Last-Event-ID goes before it', async () => {
    await append({ type: 'one' }, { type: 'two' }, { type: 'three' })
    const ids = await vi.waitFor(async () => {
      const { data } = (await get('/events')).json<{ data: { id: string }[] }>()
      expect(data).toHaveLength(3)
      return data.map(({ id }) => id)
    })
    const byCursor = await stream(`?cursor=${ids[0]}`)
    await byCursor.received(2)
    expect(typesOf(byCursor)).toEqual(['two', 'three'])
    const byHeader = await stream(`?cursor=${ids[0]}`, { 'last-event-id': ids[1] ?? '' })
    await byHeader.received(1)
    expect(typesOf(byHeader)).toEqual(['three'])
  })

  test('refuses a place that is not of this log, before it streams', async () => {
    for (const [query, headers, path] of [
      ['?cursor=nonsense', {}, '/query/cursor'],
      ['', { 'last-event-id': 'nonsense' }, '/headers/last-event-id'],
      ['', { 'last-event-id': BEYOND }, '/headers/last-event-id'],
    ] as const) {
      const refused = await stream(query, headers)
      expect(refused.status).toBe(400)
      await vi.waitFor(() => expect(refused.text()).toContain(path))
    }
    expect(await server.openStreams()).toBe(0)
  })

  test('is woken by a hint, long before its poll', async () => {
    await server.app.close()
    server = await startServer({ pollMs: 600_000 })
    const hint = createEventHints(database.db, database.platform.log)
    const hinted = await stream()
    await vi.waitFor(() => expect(hinted.lastEventId()).not.toBe(''))
    await append({ type: 'hinted' })
    await vi.waitFor(
      () => {
        // Sent again because a transaction of another test file may hold back the horizon at the first one.
        hint()
        expect(typesOf(hinted)).toEqual(['hinted'])
      },
      { timeout: 20_000 },
    )
  })

  test('beats while nothing happens', async () => {
    const quiet = await stream()
    await vi.waitFor(() => expect(quiet.text().match(/^: heartbeat$/gm)?.length).toBeGreaterThan(1))
    expect(quiet.events).toEqual([])
  })

  test('ends when its workspace is suspended, before it tells anything that came after', async () => {
    const told = await stream()
    await vi.waitFor(() => expect(told.lastEventId()).not.toBe(''))
    suspended.add(tenantId)
    await append({ type: 'later' })
    await vi.waitFor(() => expect(told.ended()).toBe(true), { timeout: 10_000 })
    expect(typesOf({ ...told, events: told.events.filter(({ event }) => event !== 'end') })).toEqual([])
    expect(told.events.at(-1)).toMatchObject({ event: 'end', data: '{"reason":"workspace_suspended"}' })
  })

  test('ends when its token is ended, although nothing happens that it could tell', async () => {
    const idle = await stream()
    await vi.waitFor(() => expect(idle.lastEventId()).not.toBe(''))
    ended.add(tenantId)
    await vi.waitFor(() => expect(idle.ended()).toBe(true), { timeout: 10_000 })
    expect(idle.events.at(-1)).toMatchObject({ event: 'end', data: '{"reason":"token_ended"}' })
  })

  test('ends with the token', async () => {
    const short = await stream('', { authorization: bearer(tenantId, 'orchestrator.events.read', 300) })
    await vi.waitFor(() => expect(short.ended()).toBe(true), { timeout: 10_000 })
    expect(short.events.at(-1)).toMatchObject({ event: 'end', data: '{"reason":"token_expired"}' })
    expect(await server.openStreams()).toBe(0)
  })

  test('ends with the process, which does not wait for it', async () => {
    const running = await stream()
    await vi.waitFor(() => expect(running.lastEventId()).not.toBe(''))
    await server.app.close()
    await vi.waitFor(() => expect(running.ended()).toBe(true))
    expect(running.events.at(-1)).toMatchObject({ event: 'end', data: '{"reason":"shutting_down"}' })
    expect(await server.openStreams()).toBe(0)
  })

  test('has so many places for one tenant and so many for all, and gives them back', async () => {
    const mine = [await stream(), await stream(), await stream()]
    const refused = await stream()
    expect(refused.status).toBe(429)
    expect(refused.headers['retry-after']).toBe('5')
    await vi.waitFor(() => expect(refused.text()).toContain('too_many_requests'))
    const theirs = { authorization: bearer(otherId) }
    expect((await stream('', theirs)).status).toBe(200)
    expect((await stream('', theirs)).status, 'the process is full').toBe(429)
    mine[0]?.drop()
    await vi.waitFor(async () => expect((await stream()).status).toBe(200))
  })
})

const appendLarge = run<{ tenantId: string; count: number; bytes: number }>(
  'test.append_large',
  `insert into event (tenant_id, type, data)
   select $1::uuid, 'large.' || n, json_build_object('fill', repeat('x', $3::int)) from generate_series(1, $2::int) as n`,
  ({ tenantId: tenant, count, bytes }) => [tenant, count, bytes],
)

describe('a reader that is slow', () => {
  const COUNT = 1_500
  const BYTES = 16_000

  async function largeLog(): Promise<string> {
    const from = await stream()
    await vi.waitFor(() => expect(from.lastEventId()).not.toBe(''))
    const id = from.lastEventId()
    from.drop()
    await appendLarge(database.db, { tenantId, count: COUNT, bytes: BYTES })
    await vi.waitFor(async () => {
      const newest = (await get('/events?order=desc&limit=1')).json<{ data: { type: string }[] }>()
      expect(newest.data[0]?.type).toBe(`large.${COUNT}`)
    })
    return id
  }

  test('holds one slice of memory and still gets everything', async () => {
    const slow = await stream('', { 'last-event-id': await largeLog() })
    slow.pause()
    const raw = server.answers.at(-1)
    let peak = 0
    await vi.waitFor(
      () => {
        peak = Math.max(peak, raw?.writableLength ?? 0)
        expect(raw?.writableNeedDrain).toBe(true)
      },
      { interval: 1, timeout: 20_000 },
    )
    const write = raw?.write.bind(raw)
    if (raw && write)
      raw.write = ((...args: Parameters<typeof write>) => {
        const accepted = write(...args)
        peak = Math.max(peak, raw.writableLength)
        return accepted
      }) as typeof raw.write
    slow.resume()
    await slow.received(COUNT)
    expect(typesOf(slow)).toEqual(Array.from({ length: COUNT }, (_, at) => `large.${at + 1}`))
    // The log is 24 MB; a slice of 20 events is 320 kB.
    expect(peak).toBeGreaterThan(BYTES)
    expect(peak).toBeLessThan(1_000_000)
  })

  test('does not hold up the stop of the process', async () => {
    const stuck = await stream('', { 'last-event-id': await largeLog() })
    stuck.pause()
    const raw = server.answers.at(-1)
    await vi.waitFor(() => expect(raw?.writableNeedDrain).toBe(true), { timeout: 20_000 })
    await server.app.close()
    expect(raw?.destroyed).toBe(true)
  })

  test('that takes nothing at all is cut off and its place is free again', async () => {
    await server.app.close()
    server = await startServer({ stallMs: 200 })
    const dead = await stream('', { 'last-event-id': await largeLog() })
    dead.pause()
    await vi.waitFor(async () => expect(await server.openStreams()).toBe(0), { timeout: 20_000 })
  })
})
