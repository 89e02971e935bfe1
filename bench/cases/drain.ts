import { setTimeout as delay } from 'node:timers/promises'
import { countProcessorTime, type ProcessorTime } from '../load/processor-time.ts'
import { createTally } from '../load/tally.ts'
import { type Engine, type ItemHandler, itemOf } from '../sides/side.ts'

const BATCH = 100
const FILLERS = 4
/** Workers start cold: the first part of a drain is not measured. */
const WARM_UP_SHARE = 0.2

/** Stores jobs with numbers from `from` on, in batches. */
export async function fill(engine: Engine, jobs: number, from = 0): Promise<void> {
  let next = from
  const filler = async (): Promise<void> => {
    while (next < from + jobs) {
      const first = next
      next += BATCH
      const size = Math.min(BATCH, from + jobs - first)
      await engine.enqueueBatch(Array.from({ length: size }, (_, at) => itemOf(first + at)))
    }
  }
  await Promise.all(Array.from({ length: FILLERS }, filler))
}

export interface Drain {
  readonly perSecond: number
  /** Per job, warm-up included. */
  readonly processorTime: ProcessorTime
  readonly problems: string[]
}

/**
 * Drains `jobs` stored jobs. The rate is that of the last four fifths: from the start of the first job after
 * the warm-up until the store says that nothing waits or runs. Ends early when nothing moves for 20 s.
 */
export async function drain(
  engine: Engine,
  options: {
    readonly jobs: number
    readonly concurrency: number
    readonly serverPids: readonly number[]
    readonly handler: ItemHandler
  },
): Promise<Drain> {
  const { jobs, concurrency, serverPids, handler } = options
  const count = await countProcessorTime(serverPids)
  const tally = createTally(jobs)
  const warmUp = Math.floor(jobs * WARM_UP_SHARE)
  let started = Number.NaN
  const stop = await engine.startWorkers({
    concurrency,
    handler: (item) => {
      tally.saw(item.n)
      if (tally.distinct === warmUp) started = performance.now()
      return handler(item)
    },
  })
  await untilAllRan(tally, jobs)
  const settled = await untilDrained(engine)
  const seconds = (performance.now() - started) / 1_000
  const processorTime = await count(jobs)
  await stop()
  const { unfinished, failed } = await engine.counts()
  return {
    processorTime,
    perSecond: (jobs - warmUp) / seconds,
    problems: [
      ...(tally.distinct === jobs ? [] : [`${jobs - tally.distinct} of ${jobs} jobs never ran`]),
      ...(tally.repeated === 0 ? [] : [`${tally.repeated} jobs ran again`]),
      ...(settled && unfinished === 0 ? [] : [`${unfinished} jobs are unfinished in the store`]),
      ...(failed === 0 ? [] : [`${failed} jobs failed`]),
    ],
  }
}

const STUCK_MS = 20_000

async function untilAllRan(tally: { readonly distinct: number }, jobs: number): Promise<void> {
  let last = -1
  let movedAt = performance.now()
  while (tally.distinct < jobs && performance.now() - movedAt < STUCK_MS) {
    if (tally.distinct !== last) {
      last = tally.distinct
      movedAt = performance.now()
    }
    await delay(2)
  }
}

async function untilDrained(engine: Engine): Promise<boolean> {
  const givesUpAt = performance.now() + STUCK_MS
  while (performance.now() < givesUpAt) {
    if (await engine.drained()) return true
    await delay(2)
  }
  return false
}
