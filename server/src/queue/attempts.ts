import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { contextFrom } from '../platform/call-context.ts'
import type { Clock, Random } from '../platform/clock.ts'
import type { Log } from '../platform/log.ts'
import {
  type AbortCause,
  AttemptAborted,
  abortedBefore,
  afterAbort,
  outcomeOfFailure,
} from './attempt-outcome.ts'
import type { Claimed } from './claim.ts'
import type { Waiting } from './fair-line.ts'
import type { ClaimedJob, Outcome } from './job.ts'
import { createPlaces, type Wanted } from './places.ts'
import type { Settlement } from './settle.ts'

/** Runs one attempt. Must end soon after the signal aborts; `signal.reason` is an `AttemptAborted`. */
export type Handler = (job: ClaimedJob, signal: AbortSignal) => Promise<Outcome>

/** The attempts that one node runs now, and the jobs it holds for its next free places. */
export interface Attempts {
  /** How many jobs the next claim may bring: see `Places`. */
  wanted(urgent: boolean): Wanted
  /** Now, or as soon as a place is free; not at all when the job expires before that. */
  start(claimed: Claimed): void
  abort(leaseId: number, why: AbortCause): void
  abortAll(why: AbortCause): void
  /** Gives back what still runs, without waiting for it; its later outcome is ignored. */
  handBack(why: string): void
  /** Gives back what has waited for a place for at least `ms`. */
  handBackWaiting(ms: number, why: string): void
  readonly running: number
  /** Resolves as soon as nothing runs. */
  idle(): Promise<void>
}

export interface AttemptsOptions {
  readonly handler: Handler
  readonly concurrency: number
  readonly maxRunMs: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Called once per attempt, just before its handler, with the time since the job became ready. */
  started(job: ClaimedJob, delayMs: number): void
  /** Called once per attempt, when its place is free again. */
  ended(settlement: Settlement): void
  /** Instead of `started` and `ended`, for a job that never got a place. */
  notStarted(settlement: Settlement): void
}

interface Running {
  readonly job: ClaimedJob
  readonly abort: AbortController
  readonly dueMs: number
}

const tracer = trace.getTracer('orchestrator.queue')

export function createAttempts(options: AttemptsOptions): Attempts {
  const { clock } = options
  const attempts = new Map<number, Running>()
  /** Those not told yet that their time is over; the limit is the same for all, so the first is due first. */
  const inTime = new Set<Running>()
  let sleeper: AbortController | undefined
  let whenIdle: (() => void)[] = []

  const end = (running: Running, outcome: Settlement['outcome']): void => {
    // False when it was handed back in the meantime.
    if (!attempts.delete(running.job.leaseId)) return
    inTime.delete(running)
    options.ended({ job: running.job, outcome })
    places.ended(running.job)
    if (attempts.size > 0) return
    sleeper?.abort()
    for (const resolve of whenIdle) resolve()
    whenIdle = []
  }

  /** One sleeper for all attempts: a timer with a signal for each costs more than all the rest of a short one. */
  const watchDeadlines = async (): Promise<void> => {
    const [first] = inTime
    if (sleeper || first === undefined) return
    sleeper = new AbortController()
    await clock.sleep(Math.max(0, first.dueMs - clock.monotonic()), sleeper.signal).catch(() => undefined)
    sleeper = undefined
    for (const running of inTime) {
      if (running.dueMs > clock.monotonic()) break
      inTime.delete(running)
      running.abort.abort(new AttemptAborted('deadline'))
    }
    void watchDeadlines()
  }

  const startOrGiveBack = ({ job, readySinceMs, expiresMs }: Waiting): void => {
    const now = clock.monotonic()
    if (now >= expiresMs) {
      giveBack(job, 'The job expired before a place was free; the attempt is not spent.')
      places.ended(job)
      return
    }
    options.started(job, now - readySinceMs)
    void run(job)
  }

  const giveBack = (job: ClaimedJob, why: string): void =>
    options.notStarted({ job, outcome: { kind: 'returned', why } })

  const run = async (job: ClaimedJob): Promise<void> => {
    const running = { job, abort: new AbortController(), dueMs: clock.monotonic() + options.maxRunMs }
    attempts.set(job.leaseId, running)
    inTime.add(running)
    void watchDeadlines()
    const { signal } = running.abort
    const outcome = await observed(job, () => options.handler(job, signal)).then(
      (result) => afterAbort(result, signal),
      (error: unknown) => afterAbort(outcomeOfFailure(error, job, options), signal),
    )
    end(running, outcome)
  }

  const places = createPlaces({
    concurrency: options.concurrency,
    now: () => clock.monotonic(),
    start: startOrGiveBack,
  })

  return {
    get running() {
      return attempts.size
    },
    wanted: places.wanted,
    start: ({ job, waitedMs, expiresInMs }) => {
      const now = clock.monotonic()
      const times = { readySinceMs: now - waitedMs, expiresMs: now + (expiresInMs ?? Infinity) }
      places.take({ job, sinceMs: now, ...times })
    },
    abort: (leaseId, why) => {
      attempts.get(leaseId)?.abort.abort(new AttemptAborted(why))
      const waiting = places.giveUp(leaseId)
      if (waiting) options.notStarted({ job: waiting.job, outcome: abortedBefore(why) })
    },
    abortAll: (why) => {
      for (const { job } of places.giveUpAfter(0)) options.notStarted({ job, outcome: abortedBefore(why) })
      for (const { abort } of attempts.values()) abort.abort(new AttemptAborted(why))
    },
    handBack: (why) => {
      for (const running of [...attempts.values()]) end(running, { kind: 'returned', why })
    },
    handBackWaiting: (ms, why) => {
      for (const { job } of places.giveUpAfter(ms)) giveBack(job, why)
    },
    idle: () => (attempts.size === 0 ? Promise.resolve() : new Promise((resolve) => whenIdle.push(resolve))),
  }
}

/** A span in the trace of the job's enqueue. */
function observed(job: ClaimedJob, work: () => Promise<Outcome>): Promise<Outcome> {
  const attributes = { 'job.id': job.id, 'job.attempt': job.attempt, 'job.connector': job.connector }
  return context.with(contextFrom(job.call.traceparent), () =>
    tracer.startActiveSpan(`job ${job.operation}`, { kind: SpanKind.CONSUMER, attributes }, async (span) => {
      try {
        const outcome = await work()
        span.setAttribute('job.outcome', outcome.kind)
        return outcome
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR })
        throw error
      } finally {
        span.end()
      }
    }),
  )
}
