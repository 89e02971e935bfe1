/** A replay of many dead letters under kill -9: it goes on after the next start, and no letter is replayed twice. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { UNLIMITED } from '../server/testing/unlimited.ts'
import { call } from './hub-client.ts'
import { freePorts, type HubHome, hubHome, type RunningHub, startHub } from './hub-process.ts'
import { type Sink, sinkConnector, startSink, taking } from './sink.ts'

const LETTERS = 60
/** Slow enough to be killed on the way. */
const PER_SECOND = 20
/** Jobs of a killed worker are taken over after 15 s. */
const WITHIN = { timeout: 60_000, interval: 100 }

interface Plan {
  readonly plan_id: string
  readonly state: string
  readonly count: number
  readonly progress: { readonly total: number; readonly done: number; readonly skipped: number }
}

let home: HubHome
let sink: Sink
let hub: RunningHub

beforeAll(async () => {
  home = await hubHome()
  sink = await startSink()
  hub = await startHub(home)
})
afterAll(async () => {
  await sink.stop()
  await home.remove()
})

const control = <Body>(path: string, body?: unknown, method?: string) =>
  call<Body>(`${hub.urls.control}${path}`, {
    token: hub.tokens.control,
    ...(body !== undefined && { body }),
    ...(method !== undefined && { method }),
  })

/** Where the connector `sink` leads; its jobs are tried once. */
async function connectTo(url: string): Promise<void> {
  const connector = { ...sinkConnector(url), policy: 'once' }
  const { status } = await control('/connectors/sink', { connector, reason: 'where it is now' }, 'PUT')
  expect(status).toBe(200)
}

const lettersLeft = async (): Promise<{ job_id: string }[]> =>
  (await control<{ data: { job_id: string }[] }>('/dlq/default?limit=200')).body.data

test('an outage, its dead letters, and their replay across a kill -9', async () => {
  const policy = { job_retry: { max_attempts: 1 } }
  await control(
    '/policies/default',
    { policy: UNLIMITED, reason: 'an outage that nothing holds back' },
    'PUT',
  )
  await control('/policies/once', { policy, reason: 'one attempt' }, 'PUT')
  const [nobody] = await freePorts(1)
  await connectTo(`http://127.0.0.1:${nobody}`)
  const jobs = Array.from({ length: LETTERS }, (_, at) => taking(`letter-${at}`))
  const sent = await call(`${hub.urls.exec}/jobs/batch`, { token: hub.tokens.exec, body: { jobs } })
  expect(sent.status).toBe(202)
  await vi.waitFor(async () => expect(await lettersLeft()).toHaveLength(LETTERS), WITHIN)
  const ids = (await lettersLeft()).map(({ job_id }) => job_id)

  const groups = await control<{ data: { fingerprint: string; count: number }[] }>('/dlq/default/groups')
  expect(groups.body.data).toMatchObject([{ count: LETTERS }])
  await connectTo(sink.url)
  const plan = await control<Plan>('/dlq/default/plans', {
    action: 'replay',
    filter: { fingerprint: groups.body.data[0]?.fingerprint },
    rate_per_second: PER_SECOND,
  })
  expect(plan).toMatchObject({
    status: 201,
    body: { count: LETTERS, estimate_seconds: LETTERS / PER_SECOND },
  })
  const path = `/dlq/plans/${plan.body.plan_id}`
  expect((await control(`${path}/commit`, { reason: 'the sink is up' })).status).toBe(202)
  const progress = async () => (await control<Plan>(path)).body
  await vi.waitFor(async () => expect((await progress()).progress.done).toBeGreaterThan(0), WITHIN)

  await hub.killHard()
  hub = await startHub(home)
  await vi.waitFor(async () => expect((await progress()).state).toBe('done'), WITHIN)
  expect((await progress()).progress).toMatchObject({ total: LETTERS, done: LETTERS, skipped: 0 })
  await vi.waitFor(async () => {
    const { body } = await control<{ data: { id: string }[] }>('/jobs?state=done&connector=sink&limit=200')
    expect(new Set(body.data.map(({ id }) => id))).toEqual(new Set(ids))
  }, WITHIN)

  expect(await lettersLeft()).toEqual([])
  const events = await control<{ data: { job_id: string }[] }>('/events?type=job.replayed&limit=200')
  const replayed = events.body.data.map(({ job_id }) => job_id)
  expect(replayed.sort()).toEqual([...ids].sort())
  const keys = new Map(sink.effects.map(({ marker, idempotencyKey }) => [marker, idempotencyKey]))
  expect(new Set(sink.effects.map(({ marker, idempotencyKey }) => `${marker} ${idempotencyKey}`)).size).toBe(
    LETTERS,
  )
  expect(new Set(keys.values()).size).toBe(LETTERS)
  const audit = await control<{ data: { action: string; reason: string }[] }>(
    '/audit?action=dead_letters.replay_started',
  )
  expect(audit.body.data).toMatchObject([{ reason: 'the sink is up' }])
}, 150_000)
