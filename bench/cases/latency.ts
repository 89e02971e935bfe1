import { setTimeout as delay } from 'node:timers/promises'
import { openLoop } from '../load/open-loop.ts'
import { type Engine, type Item, itemOf } from '../sides/side.ts'
import { nowUs, percentile, sorted } from '../statistics.ts'

/** Waits from enqueue to start, by job. */
export interface Starts {
  readonly handler: (item: Item) => void
  /** Resolves when `jobs` jobs have started, or nothing has for 10 s. */
  all(jobs: number): Promise<void>
  /** Milliseconds by job number; NaN where none started. */
  readonly waits: Map<number, number>
  readonly repeated: number
}

const STUCK_MS = 10_000

export function recordStarts(): Starts {
  const waits = new Map<number, number>()
  let repeated = 0
  let lastAt = performance.now()
  return {
    waits,
    get repeated() {
      return repeated
    },
    handler: ({ n, sent_us }) => {
      lastAt = performance.now()
      if (waits.has(n)) repeated += 1
      waits.set(n, (nowUs() - sent_us) / 1_000)
    },
    all: async (jobs) => {
      lastAt = performance.now()
      while (waits.size < jobs && performance.now() - lastAt < STUCK_MS) await delay(5)
    },
  }
}

export interface Stream {
  readonly warmUpMs: number
  readonly measureMs: number
  readonly perSecond: number
  /** Single jobs, each some time after the one before has surely ended. */
  readonly idleJobs: number
}

const IDLE_PAUSE_MS = 150

/** The numbers of the jobs whose waits count, of the stream and of the idle time. */
export interface Sent {
  readonly stream: readonly number[]
  readonly idle: readonly number[]
  readonly jobs: number
}

/** Enqueues a steady stream of jobs, and then single ones. */
export async function sendStream(engine: Pick<Engine, 'enqueueOne'>, stream: Stream): Promise<Sent> {
  let n = 0
  const send = () => engine.enqueueOne(itemOf(n++, nowUs()))
  await openLoop({ perSecond: stream.perSecond, forMs: stream.warmUpMs, once: send })
  const from = n
  await openLoop({ perSecond: stream.perSecond, forMs: stream.measureMs, once: send })
  const until = n
  for (let job = 0; job < stream.idleJobs; job += 1) {
    await delay(IDLE_PAUSE_MS * (0.5 + Math.random()))
    await send()
  }
  const numbers = (first: number, end: number) => Array.from({ length: end - first }, (_, at) => first + at)
  return { stream: numbers(from, until), idle: numbers(until, n), jobs: n }
}

export function percentilesOf(numbers: readonly number[], waits: ReadonlyMap<number, number>) {
  const ascending = sorted(numbers.map((n) => waits.get(n) ?? Number.NaN))
  return { p50: percentile(ascending, 0.5), p99: percentile(ascending, 0.99) }
}

export const startProblems = (jobs: number, started: number, repeated: number): string[] => [
  ...(started === jobs ? [] : [`${jobs - started} of ${jobs} jobs never started`]),
  ...(repeated === 0 ? [] : [`${repeated} jobs ran again`]),
]
