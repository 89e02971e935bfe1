import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { contextFrom } from '../platform/call-context.ts'
import type { Clock, Random } from '../platform/clock.ts'
import type { Log } from '../platform/log.ts'
import { Problem } from '../problems.ts'
import type { ClaimedJob, Outcome } from './job.ts'
import { createPlaces, type Wanted } from './places.ts'
import type { Settlement } from './settle.ts'

/** Runs one attempt. Must end soon after the signal aborts; `signal.reason` is an `AttemptAborted`. */
export type Handler = (job: ClaimedJob, signal: AbortSignal) => Promise<Outcome>

/**
 * Why an attempt is told to stop: somebody cancelled the job, the process stops, the node could not prove for
 * too long that it lives, or the attempt took too long.
 */
export type AbortCause = 'cancelled' | 'stopping' | 'lease_lost' | 'deadline'

export class AttemptAborted extends Error {
  readonly why: AbortCause

  constructor(why: AbortCause) {
    super(`the attempt was aborted: ${why}`)
    this.name = 'AttemptAborted'
    this.why = why
  }
}

/** The attempts that one node runs now, and the jobs it holds for its next free places. */
export interface Attempts {
  /** How many jobs the next claim may bring: see `Places`. */
  wanted(): Wanted
  /** Now, or as soon as a place is free. */
  start(job: ClaimedJob): void
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
  /** Called once per attempt, just before its handler. */
  started(job: ClaimedJob): void
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

  const run = async (job: ClaimedJob): Promise<void> => {
    const running = { job, abort: new AbortController(), dueMs: clock.monotonic() + options.maxRunMs }
    attempts.set(job.leaseId, running)
    inTime.add(running)
    options.started(job)
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
    start: (job) => void run(job),
  })

  return {
    get running() {
      return attempts.size
    },
    wanted: places.wanted,
    start: places.take,
    abort: (leaseId, why) => {
      attempts.get(leaseId)?.abort.abort(new AttemptAborted(why))
      const job = places.giveUp(leaseId)
      if (job) options.notStarted({ job, outcome: abortedBefore(why) })
    },
    abortAll: (why) => {
      for (const job of places.giveUpAfter(0)) options.notStarted({ job, outcome: abortedBefore(why) })
      for (const { abort } of attempts.values()) abort.abort(new AttemptAborted(why))
    },
    handBack: (why) => {
      for (const running of [...attempts.values()]) end(running, { kind: 'returned', why })
    },
    handBackWaiting: (ms, why) => {
      for (const job of places.giveUpAfter(ms))
        options.notStarted({ job, outcome: { kind: 'returned', why } })
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

/**
 * What an outcome means when the attempt was told to stop. A success stays one: the effect happened. Everything
 * else may just be the abort itself, so it must neither spend an attempt nor bury the job.
 */
function afterAbort(outcome: Outcome, signal: AbortSignal): Settlement['outcome'] {
  const why = signal.reason instanceof AttemptAborted ? signal.reason.why : undefined
  if (outcome.kind === 'done' || why === undefined || why === 'deadline') return outcome
  if (why === 'cancelled') return { kind: 'cancelled', why: 'Cancelled on request while it ran.' }
  return { kind: 'returned', why: WHY_RETURNED[why] }
}

function abortedBefore(why: AbortCause): Settlement['outcome'] {
  if (why === 'cancelled') return { kind: 'cancelled', why: 'Cancelled on request before it started.' }
  return { kind: 'returned', why: WHY_RETURNED[why] }
}

const WHY_RETURNED = {
  stopping: 'The worker stops; the attempt is not spent.',
  lease_lost: 'The worker could not reach the database for too long; the attempt is not spent.',
  deadline: 'The attempt had no time left; it is not spent.',
} as const

/** Attempts that a bug in a handler may cost before the job becomes a dead letter. */
const MAX_FAILURES = 5
const DATABASE_PAUSE_MS = 2_000

/** A handler that throws is a bug, or the database is away. The error goes to the log only: it may hold internals. */
function outcomeOfFailure(error: unknown, job: ClaimedJob, { log, random }: AttemptsOptions): Outcome {
  if (error instanceof AttemptAborted) {
    const message = 'The attempt took too long and was stopped.'
    return retryOrDie(job, random, { class: 'timeout', message }, message)
  }
  if (error instanceof Problem && error.code === 'database_unavailable')
    return { kind: 'snooze', delayMs: DATABASE_PAUSE_MS, why: 'The hub could not reach its database.' }
  log.error(
    { err: error, job_id: job.id, tenant_id: job.tenantId },
    'the handler of a job failed unexpectedly',
  )
  const message = 'The worker failed unexpectedly; its log has the details.'
  return retryOrDie(job, random, { class: 'internal_error', message }, message)
}

function retryOrDie(
  job: ClaimedJob,
  random: Random,
  error: { readonly class: string; readonly message: string },
  why: string,
): Outcome {
  if (job.attempt >= MAX_FAILURES) return { kind: 'dead', reason: 'handler_failed', error, why }
  return { kind: 'retry', delayMs: 1_000 * 2 ** job.attempt * (0.5 + random() / 2), error, why }
}
