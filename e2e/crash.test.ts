/** The promise "no acknowledged loss", under kill -9 at a moment that chance chooses. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { UNLIMITED } from '../server/testing/unlimited.ts'
import { type Answer, call } from './hub-client.ts'
import { type HubHome, hubHome, type RunningHub, startHub } from './hub-process.ts'
import { postmasterOf } from './process-scan.ts'
import { type Sink, sinkConnector, startSink, taking } from './sink.ts'

/** E2E_SEED repeats a run: how many answers come before the kill. */
const seed = Number(process.env.E2E_SEED || Math.floor(Math.random() * 2 ** 32))
const SENDERS = 8
/** A worker counts as dead after 15 s without a beat, and others look every 5 s. */
const RESCUED = { timeout: 60_000, interval: 250 }
const TEST_MS = 120_000

interface JobView {
  readonly id: string
  readonly state: string
}

let home: HubHome
let sink: Sink
let hub: RunningHub
/** Every job that was answered with 202, by its marker. */
const accepted = new Map<string, string>()

beforeAll(async () => {
  home = await hubHome()
  sink = await startSink()
  hub = await startHub(home)
  const body = { connector: sinkConnector(sink.url), reason: 'a place to see what arrives' }
  const put = { method: 'PUT', token: hub.tokens.control, body }
  expect((await call(`${hub.urls.control}/connectors/sink`, put)).status).toBe(200)
  const policy = { ...put, body: { policy: UNLIMITED, reason: 'hundreds of jobs at once' } }
  expect((await call(`${hub.urls.control}/policies/default`, policy)).status).toBe(200)
})
afterAll(async () => {
  await sink.stop()
  await home.remove()
})

/** Mulberry32: one number in [0, 1) from the seed. */
function chance(salt: number): number {
  let state = (seed + salt * 0x6d2b79f5) | 0
  state = Math.imul(state ^ (state >>> 15), state | 1)
  state ^= state + Math.imul(state ^ (state >>> 7), state | 61)
  return ((state ^ (state >>> 14)) >>> 0) / 2 ** 32
}

const markers = (prefix: string, count: number) => Array.from({ length: count }, (_, at) => `${prefix}-${at}`)

/**
 * Submits every job as a careful client does: with a key of its own, and again with the same key as long as no
 * answer says 202. Calls `after` once when so many have been accepted. Gives the answers that no client should get.
 */
async function submitAll(
  wanted: readonly string[],
  after: number,
  kill: () => Promise<unknown>,
): Promise<{ unexpected: Answer[] }> {
  const unexpected: Answer[] = []
  const queue = [...wanted]
  let count = 0
  let killing: Promise<unknown> | undefined
  const submit = async (marker: string): Promise<string> => {
    const headers = { 'idempotency-key': `key-of-${marker}` }
    const answer = await call(`${hub.urls.exec}/jobs`, {
      token: hub.tokens.exec,
      headers,
      body: taking(marker),
    })
    if (answer.status !== 202 && answer.status !== 503) unexpected.push(answer)
    expect(answer.status).toBe(202)
    return String(answer.body.job_id)
  }
  const send = async (): Promise<void> => {
    for (let marker = queue.shift(); marker !== undefined; marker = queue.shift()) {
      const own = marker
      accepted.set(own, await vi.waitFor(() => submit(own), RESCUED))
      count += 1
      if (count >= after) killing ??= kill()
    }
  }
  await Promise.all(Array.from({ length: SENDERS }, send))
  await killing
  return { unexpected }
}

/** Every job of the workspace, page by page. */
async function allJobs(): Promise<JobView[]> {
  const jobs: JobView[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const url: string = `${hub.urls.exec}/jobs?limit=200${cursor && `&cursor=${cursor}`}`
    const { body } = await call<{ data: JobView[]; next_cursor: string | null }>(url, {
      token: hub.tokens.exec,
    })
    jobs.push(...body.data)
    cursor = body.next_cursor
  }
  return jobs
}

/** Every accepted job is there once and done, and its effect has arrived, under one key on every attempt. */
async function expectNothingLost(wanted: readonly string[]): Promise<void> {
  await vi.waitFor(async () => {
    const unfinished = (await allJobs()).filter(({ state }) => state !== 'done')
    expect(unfinished).toEqual([])
  }, RESCUED)
  const stored = (await allJobs()).map(({ id }) => id)
  expect(stored.length).toBe(new Set(stored).size)
  expect(new Set(stored)).toEqual(new Set(accepted.values()))
  const keys = new Map<string, Set<string>>()
  for (const { marker, idempotencyKey } of sink.effects)
    keys.set(marker, (keys.get(marker) ?? new Set()).add(idempotencyKey))
  expect(wanted.filter((marker) => keys.get(marker)?.size !== 1)).toEqual([])
  expect(new Set([...keys.values()].flatMap((set) => [...set])).size).toBe(keys.size)
}

describe(`kill -9 while jobs stream in (E2E_SEED=${seed})`, () => {
  test(
    'of the hub: what was accepted is done after the next start',
    async () => {
      const wanted = markers('hub', 300)
      const held = wanted.filter((_, at) => at % 10 === 0)
      for (const marker of held) sink.hold(marker)
      let interrupted: string[] = []
      const { unexpected } = await submitAll(wanted, 50 + Math.floor(chance(1) * 200), async () => {
        // The upstream has these and has not answered: nobody knows any more how they ended.
        await vi.waitFor(() => expect(held.some(hasArrived)).toBe(true), RESCUED)
        await hub.killHard()
        interrupted = held.filter(hasArrived)
        sink.release()
        hub = await startHub(home)
      })
      expect(unexpected).toEqual([])
      await expectNothingLost(wanted)
      expect(interrupted.length).toBeGreaterThan(0)
      for (const marker of interrupted) {
        const { body } = await call<{ attempts: { outcome: string }[] }>(
          `${hub.urls.exec}/jobs/${accepted.get(marker)}`,
          { token: hub.tokens.exec },
        )
        expect(body.attempts.map(({ outcome }) => outcome)).toEqual(['lost', 'done'])
      }
    },
    TEST_MS,
  )

  test(
    'of its database: the hub answers 202 or 503, and what was accepted is done',
    async () => {
      const wanted = markers('database', 200)
      const held = wanted.filter((_, at) => at % 10 === 0)
      for (const marker of held) sink.hold(marker)
      const { unexpected } = await submitAll(wanted, 30 + Math.floor(chance(2) * 130), async () => {
        await vi.waitFor(() => expect(held.some(hasArrived)).toBe(true), RESCUED)
        process.kill(await postmasterOf(home.dataDir), 'SIGKILL')
        // They end while the database is away: how, must not be forgotten.
        sink.release()
      })
      expect(unexpected).toEqual([])
      await expectNothingLost(wanted)
    },
    TEST_MS,
  )
})

const hasArrived = (marker: string): boolean => sink.effects.some((effect) => effect.marker === marker)
