import { setTimeout as delay } from 'node:timers/promises'
import { newId } from '../../server/src/platform/ids.ts'
import { enqueueJobs } from '../../server/src/queue/enqueue.ts'
import { createEnqueuer } from '../../server/src/queue/enqueuer.ts'
import { openLoop } from '../load/open-loop.ts'
import { DONE, type OurQueue, openOurQueue } from '../sides/ours.ts'
import { type Item, itemOf } from '../sides/side.ts'
import { jainIndex, nowUs, percentile, sorted } from '../statistics.ts'
import { type Case, type Run, type Sample, TAIL_MS } from './case.ts'
import { recordStarts, startProblems } from './latency.ts'

const PLACES = 50
/** Long enough that the big tenant fills all places without filling the processors; half to one and a half times this. */
const WORK_MS = 20
const SMALL_PER_SECOND = 100
const TIMES = {
  full: { tenants: 2_000, jobsEach: 10, streamMs: 15_000 },
  quick: { tenants: 500, jobsEach: 8, streamMs: 4_000 },
}
const BIG_SHARE = 0.8
const STUCK_MS = 30_000

/** Stores jobs of tenants that are named by job number. */
async function store(queue: OurQueue, tenantIds: readonly string[]): Promise<void> {
  for (let from = 0; from < tenantIds.length; from += 1_000) {
    const jobs = tenantIds.slice(from, from + 1_000).map((id) => queue.jobOf(itemOf(0), id))
    await enqueueJobs(queue.platform.db, jobs)
    queue.wakeUp.hint(jobs)
  }
}

/**
 * Waits of small tenants, first alone, then while one tenant's backlog keeps every place busy. Both times the
 * small ones send the same; what differs is the big one.
 */
async function measureWaits(run: Run): Promise<{ idle: number; crowded: number; problems: string[] }> {
  const { tenants, streamMs } = TIMES[run.scale]
  const queue = openOurQueue(run.databaseUrl)
  const enqueuer = createEnqueuer(queue.platform.db, { wakeUp: queue.wakeUp })
  const small = Array.from({ length: tenants - 1 }, () => newId())
  const big = newId()
  const starts = recordStarts()
  const runner = queue.createRunner(PLACES, async (job) => {
    if (job.tenantId !== big) starts.handler(job.input as Item)
    // As in life no two take the same time; else all places would be free at once, and never in between.
    await delay(WORK_MS * (0.5 + Math.random()))
    return DONE
  })
  let n = 0
  const stream = async (): Promise<number> => {
    const from = n
    const once = async (): Promise<void> => {
      const item = itemOf(n++, nowUs())
      await enqueuer.enqueue(queue.jobOf(item, small[Math.floor(Math.random() * small.length)] ?? ''))
    }
    await openLoop({ perSecond: SMALL_PER_SECOND, forMs: streamMs, once })
    await starts.all(n)
    const waits = Array.from({ length: n - from }, (_, at) => starts.waits.get(from + at) ?? Number.NaN)
    return percentile(sorted(waits), 0.99)
  }
  try {
    await runner.start()
    await stream()
    const idle = await stream()
    // More than the places can do in the time.
    const backlog = Math.ceil(((streamMs + 5_000) / WORK_MS) * PLACES)
    await store(
      queue,
      Array.from({ length: backlog }, () => big),
    )
    const crowded = await stream()
    const busy = runner.running
    await runner.stop(5_000)
    return {
      idle,
      crowded,
      problems: [
        ...startProblems(n, starts.waits.size, starts.repeated),
        ...(busy >= PLACES * 0.5
          ? []
          : [`the big tenant ran dry: ${busy} of ${PLACES} places busy at the end`]),
      ],
    }
  } finally {
    await enqueuer.close()
    await queue.close()
  }
}

/** Who gets the places while every tenant has jobs waiting and one has four fifths of them all. */
async function measureShares(run: Run): Promise<{ jain: number; problems: string[] }> {
  const { tenants, jobsEach } = TIMES[run.scale]
  const queue = openOurQueue(run.databaseUrl)
  const small = Array.from({ length: tenants - 1 }, () => newId())
  const big = newId()
  const bigJobs = Math.round((small.length * jobsEach * BIG_SHARE) / (1 - BIG_SHARE))
  const order: string[] = []
  const runner = queue.createRunner(PLACES, async (job) => {
    order.push(job.tenantId)
    return DONE
  })
  try {
    // The big tenant came first.
    await store(
      queue,
      Array.from({ length: bigJobs }, () => big),
    )
    await store(
      queue,
      Array.from({ length: small.length * jobsEach }, (_, at) => small[at % small.length] ?? ''),
    )
    await runner.start()
    const jain = await shareOf(order, small, jobsEach)
    await runner.stop(5_000)
    return { jain, problems: Number.isNaN(jain) ? ['the small tenants were not served'] : [] }
  } finally {
    await queue.close()
  }
}

/** The index over the jobs that started until the first small tenant had none left. */
async function shareOf(
  order: readonly string[],
  small: readonly string[],
  jobsEach: number,
): Promise<number> {
  const left = new Map(small.map((tenantId) => [tenantId, jobsEach]))
  let ofBig = 0
  let at = 0
  for (const until = performance.now() + STUCK_MS; performance.now() < until; await delay(5))
    for (; at < order.length; at += 1) {
      const tenantId = order[at] ?? ''
      const stillLeft = left.get(tenantId)
      if (stillLeft === undefined) ofBig += 1
      else left.set(tenantId, stillLeft - 1)
      if (stillLeft === 1) return jainIndex([ofBig, ...[...left.values()].map((rest) => jobsEach - rest)])
    }
  return Number.NaN
}

async function measure(run: Run): Promise<Sample> {
  const { idle, crowded, problems } = await measureWaits(run)
  const shares = await measureShares(run)
  return {
    metrics: { idle, crowded, times: crowded / idle, jain: shares.jain },
    problems: [...problems, ...shares.problems],
  }
}

export const oneBigTenant: Case = {
  id: 'h',
  title: `${TIMES.full.tenants} tenants (quick: ${TIMES.quick.tenants}), one owns ${BIG_SHARE * 100} % of the backlog; ${PLACES} places`,
  participants: ['ours'],
  metrics: [
    { key: 'idle', title: "others' p99 without it", ...TAIL_MS },
    { key: 'crowded', title: "others' p99 beside it", ...TAIL_MS },
    { key: 'times', title: 'beside ÷ without', unit: '×', better: 'lower', steadiness: 6 },
    { key: 'jain', title: 'Jain index', unit: '', better: 'higher', steadiness: 1.2 },
  ],
  goals: [
    { metric: 'times', of: 'ours', atMost: 2 },
    { metric: 'jain', of: 'ours', atLeast: 0.9 },
  ],
  limitMs: { full: 240_000, quick: 120_000 },
  measure,
}
