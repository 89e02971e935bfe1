import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import type { Db } from '../../server/src/platform/db/db.ts'
import { newId } from '../../server/src/platform/ids.ts'
import { createEnqueuer } from '../../server/src/queue/enqueuer.ts'
import { openLoop } from '../load/open-loop.ts'
import { DONE, openOurQueue } from '../sides/ours.ts'
import { type Item, itemOf } from '../sides/side.ts'
import { nowUs, percentile, sorted } from '../statistics.ts'
import { type Case, MEDIAN_MS, type Run, type Sample, TAIL_MS } from './case.ts'
import { recordStarts, startProblems } from './latency.ts'

const TENANTS = 20
const PLACES = 100
const TIMES = {
  full: { perSecond: 3_000, warmUpMs: 5_000, beforeMs: 15_000, pinnedMs: 60_000, lastMs: 15_000 },
  quick: { perSecond: 1_000, warmUpMs: 2_000, beforeMs: 4_000, pinnedMs: 10_000, lastMs: 4_000 },
}

/** A part of the run, by the numbers of its jobs and the times of its claims. */
interface Window {
  readonly jobs: [first: number, end: number]
  readonly claims: number[]
}

/** The same pool, with the time of every claim told. */
const timed = (db: Db, tell: (ms: number) => void): Db => ({
  ...db,
  execute: async (statement, values) => {
    const started = performance.now()
    try {
      return await db.execute(statement, values)
    } finally {
      if (statement.name === 'queue.claim') tell(performance.now() - started)
    }
  },
})

/** Keeps every row that dies from now on from being cleaned up, as a long report does. */
async function pinSnapshot(url: string): Promise<() => Promise<void>> {
  const client = new Client({ connectionString: url })
  await client.connect()
  await client.query('begin isolation level repeatable read')
  await client.query('select count(*) from job_ready')
  return () => client.end()
}

async function measure(run: Run): Promise<Sample> {
  const times = TIMES[run.scale]
  const queue = openOurQueue(run.databaseUrl)
  const enqueuer = createEnqueuer(queue.platform.db, { wakeUp: queue.wakeUp })
  const tenants = Array.from({ length: TENANTS }, () => newId())
  const starts = recordStarts()
  let claims: number[] = []
  const runner = queue.createRunner(
    PLACES,
    async (job) => {
      starts.handler(job.input as Item)
      return DONE
    },
    timed(queue.claimDb, (ms) => claims.push(ms)),
  )
  let n = 0
  const send = async (): Promise<void> => {
    const item = itemOf(n++, nowUs())
    await enqueuer.enqueue(queue.jobOf(item, tenants[item.n % TENANTS] ?? ''))
  }
  const stopSending = new AbortController()
  const window = async (ms: number): Promise<Window> => {
    claims = []
    const first = n
    await delay(ms)
    return { jobs: [first, n], claims }
  }

  try {
    await runner.start()
    const forMs = times.warmUpMs + times.beforeMs + times.pinnedMs + 5_000
    const { signal } = stopSending
    const sending = openLoop({ perSecond: times.perSecond, forMs, once: send, signal })
    await window(times.warmUpMs)
    const before = await window(times.beforeMs)
    const release = await pinSnapshot(run.databaseUrl)
    await window(times.pinnedMs - times.lastMs)
    const pinned = await window(times.lastMs)
    stopSending.abort()
    const jobs = await sending
    await starts.all(jobs)
    await release()
    await runner.stop(5_000)
    return {
      metrics: metricsOf(before, pinned, starts.waits),
      problems: [
        ...startProblems(jobs, starts.waits.size, starts.repeated),
        ...keptPace(pinned, times.perSecond * (times.lastMs / 1_000)),
      ],
    }
  } finally {
    await enqueuer.close()
    await queue.close()
  }
}

/** The load itself must have been there: a generator that falls behind measures nothing. */
const keptPace = ({ jobs: [first, end] }: Window, wanted: number): string[] =>
  end - first > wanted * 0.9 ? [] : [`only ${end - first} of ${wanted} jobs were sent in the pinned time`]

function metricsOf(before: Window, pinned: Window, waits: ReadonlyMap<number, number>) {
  const of = ({ jobs: [first, end], claims }: Window) => {
    const waited = sorted(Array.from({ length: end - first }, (_, at) => waits.get(first + at) ?? Number.NaN))
    return {
      p50: percentile(waited, 0.5),
      p99: percentile(waited, 0.99),
      claim: percentile(sorted(claims), 0.5),
    }
  }
  const [a, b] = [of(before), of(pinned)]
  return {
    ...{ p50: a.p50, p99: a.p99, claim: a.claim },
    ...{ pinnedP50: b.p50, pinnedP99: b.p99, pinnedClaim: b.claim },
    times: b.p99 / a.p99,
  }
}

export const pinnedSnapshot: Case = {
  id: 'g',
  title: `Enqueue to start at ${TIMES.full.perSecond} jobs/s (quick: ${TIMES.quick.perSecond}) before and at the end of a snapshot pinned for ${TIMES.full.pinnedMs / 1_000} s (quick: ${TIMES.quick.pinnedMs / 1_000})`,
  participants: ['ours'],
  metrics: [
    { key: 'p50', title: 'p50 before', ...MEDIAN_MS },
    { key: 'pinnedP50', title: 'p50 pinned', ...MEDIAN_MS },
    { key: 'p99', title: 'p99 before', ...TAIL_MS },
    { key: 'pinnedP99', title: 'p99 pinned', ...TAIL_MS },
    { key: 'claim', title: 'claim p50 before', ...MEDIAN_MS },
    { key: 'pinnedClaim', title: 'claim p50 pinned', ...MEDIAN_MS },
    { key: 'times', title: 'p99 pinned ÷ before', unit: '×', better: 'lower', steadiness: 6 },
  ],
  goals: [{ metric: 'times', of: 'ours', atMost: 2 }],
  limitMs: { full: 150_000, quick: 60_000 },
  measure,
}
