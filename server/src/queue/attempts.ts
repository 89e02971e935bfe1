import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { contextFrom } from '../platform/call-context.ts'
import type { Clock, Random } from '../platform/clock.ts'
import type { Log } from '../platform/log.ts'
import { Problem } from '../problems.ts'
import type { ClaimedJob, Outcome, QueueName } from './job.ts'
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

/** The attempts that one node runs now. */
export interface Attempts {
  start(job: ClaimedJob): void
  abort(leaseId: number, why: AbortCause): void
  abortAll(why: AbortCause): void
  /** Gives back what still runs, without waiting for it; its later outcome is ignored. */
  handBack(why: string): void
  readonly running: number
  runningIn(queue: QueueName): number
  /** Resolves as soon as nothing runs. */
  idle(): Promise<void>
}

export interface AttemptsOptions {
  readonly handler: Handler
  readonly maxRunMs: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Called once per attempt, when its place is free again. */
  ended(settlement: Settlement): void
}

interface Running {
  readonly job: ClaimedJob
  readonly abort: AbortController
}

const tracer = trace.getTracer('orchestrator.queue')

export function createAttempts(options: AttemptsOptions): Attempts {
  const { clock } = options
  const attempts = new Map<number, Running>()
  const perQueue: Record<QueueName, number> = { critical: 0, webhook: 0, default: 0, low: 0 }
  let whenIdle: (() => void)[] = []

  const end = (running: Running, outcome: Settlement['outcome']): void => {
    // False when it was handed back in the meantime.
    if (!attempts.delete(running.job.leaseId)) return
    perQueue[running.job.queue] -= 1
    options.ended({ job: running.job, outcome })
    if (attempts.size > 0) return
    for (const resolve of whenIdle) resolve()
    whenIdle = []
  }

  const run = async (running: Running): Promise<void> => {
    const { job, abort } = running
    const finished = new AbortController()
    clock.sleep(options.maxRunMs, finished.signal).then(
      () => abort.abort(new AttemptAborted('deadline')),
      () => undefined,
    )
    const outcome = await observed(job, () => options.handler(job, abort.signal)).then(
      (result) => afterAbort(result, abort.signal),
      (error: unknown) => afterAbort(outcomeOfFailure(error, job, options), abort.signal),
    )
    finished.abort()
    end(running, outcome)
  }

  return {
    get running() {
      return attempts.size
    },
    runningIn: (queue) => perQueue[queue],
    start: (job) => {
      const running = { job, abort: new AbortController() }
      attempts.set(job.leaseId, running)
      perQueue[job.queue] += 1
      void run(running)
    },
    abort: (leaseId, why) => attempts.get(leaseId)?.abort.abort(new AttemptAborted(why)),
    abortAll: (why) => {
      for (const { abort } of attempts.values()) abort.abort(new AttemptAborted(why))
    },
    handBack: (why) => {
      for (const running of [...attempts.values()]) end(running, { kind: 'returned', why })
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
  return {
    kind: 'returned',
    why:
      why === 'stopping'
        ? 'The worker stops; the attempt is not spent.'
        : 'The worker could not reach the database for too long; the attempt is not spent.',
  }
}

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
