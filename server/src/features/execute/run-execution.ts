import { failPoint } from '../../platform/fail-points.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import type { CallResult, ServedFrom } from '../../resilience/pipeline.ts'
import type { ActiveConnector } from '../configs/configs.ts'
import { findOperation, sendsKey } from '../connectors/connectors.ts'
import type { Policy } from '../policies/policies.ts'
import { keyMember, upstreamKeyOf } from './answer.ts'
import { type CallDeps, callUpstream, type Progress } from './call-upstream.ts'
import { entryOf } from './entry.ts'
import type { Execution } from './execution.ts'
import { type Failed, failedAs } from './failure-answers.ts'
import type { RequestLog } from './request-log.ts'

export interface RunDeps extends CallDeps {
  readonly requestLog: RequestLog
}

/** A checked execution that may begin. */
export interface Run {
  readonly execution: Execution
  readonly active: ActiveConnector
  readonly policy: Policy
  readonly id: string
  /** The caller's, or what stands for it. */
  readonly key: string
  /** Until when the key is kept. */
  readonly expiresAt: Date | null
  /** It was run before, and nobody knows what came of that. */
  readonly takenUp: boolean
  /** `clock.monotonic()`. */
  readonly startedAt: number
  readonly stopSignal: AbortSignal
}

export type Ran =
  | {
      readonly ok: true
      readonly output: unknown
      readonly httpStatus: number | null
      readonly servedFrom?: ServedFrom
      readonly ageMs?: number
      readonly attempts: number
      readonly latencyMs: number
    }
  | ({ readonly ok: false } & Failed)

/** Runs an execution once, through the stages of its policy; it leaves a row in the request log, whatever came of it. */
export async function runExecution(deps: RunDeps, run: Run): Promise<Ran> {
  const { clock } = deps.platform
  const { execution, active, id, key } = run
  const idempotencyKey = upstreamKeyOf(id)
  const progress: Progress = { attempts: 0, failures: [], wouldHave: [] }
  const finish = (
    outcome: string,
    httpStatus: number | null,
    message: string,
    servedFrom?: ServedFrom,
  ): number => {
    const latencyMs = Math.round(clock.monotonic() - run.startedAt)
    const at = new Date(clock.now())
    const ids = { logId: run.takenUp ? newId() : id, executionId: id }
    const ended = {
      ...ids,
      idempotencyKey: key,
      outcome,
      httpStatus,
      message,
      latencyMs,
      servedFrom,
      ...progress,
    }
    deps.requestLog.record(entryOf(execution, active.configVersion, ended, at))
    return latencyMs
  }
  try {
    const result = await callUpstream(deps, execution, { ...run, idempotencyKey, progress })
    failPoint('execute.after_send')
    const latencyMs = finish(
      'ok',
      result.httpStatus,
      succeeded(execution, progress, result),
      result.servedFrom,
    )
    return { ok: true, ...result, attempts: progress.attempts, latencyMs }
  } catch (error) {
    failPoint('execute.after_send')
    const failures = progress.failures.map(({ failure }) => failure)
    const { attempts } = progress
    const { takenUp } = run
    const takesKey = sendsKey(findOperation(active.connector, execution.operation), execution.input)
    const idempotency = keyMember(key, id, run.expiresAt)
    const failed = failedAs(error, { attempts, failures, executionId: id, idempotency, takenUp, takesKey })
    const httpStatus = progress.failures.at(-1)?.failure.httpStatus ?? null
    if (failed.error instanceof Problem && failed.error.code !== 'internal_error')
      finish(failed.error.code, httpStatus, messageOf(failed.error, progress))
    else finish('internal_error', httpStatus, 'An unexpected failure inside the hub.')
    return { ok: false, ...failed }
  }
}

const SERVED: Readonly<Record<Exclude<ServedFrom, 'upstream'>, string>> = {
  cache: 'Answered from the cache, nothing was sent.',
  coalesced: 'Answered by an equal call that was under way.',
  stale: 'Answered by the fallback with the last good answer',
  static: 'Answered by the fallback with the answer of the policy',
}

function succeeded(
  execution: Execution,
  { attempts, failures }: Progress,
  { servedFrom }: CallResult,
): string {
  if (execution.dryRun) return 'Dry run: everything was checked, nothing was sent.'
  if (servedFrom === undefined || servedFrom === 'upstream') return `Done at attempt ${attempts}.`
  const failure = failures.at(-1)?.failure
  const because =
    servedFrom === 'stale' || servedFrom === 'static' ? `${failure ? `: ${failure.message}` : '.'}` : ''
  return `${SERVED[servedFrom]}${because}`
}

const messageOf = (problem: Problem, { attempts, failures }: Progress): string => {
  const why = failures.at(-1)?.decision.why
  return `${problem.message}${attempts > 0 ? ` Attempt ${attempts}${why ? `, ${why}` : ''}.` : ''}`
}
