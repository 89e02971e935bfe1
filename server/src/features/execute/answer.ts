import { Problem, problemDocument } from '../../problems.ts'
import type { ServedFrom } from '../../resilience/pipeline.ts'
import type { Execution } from './execution.ts'
import type { KeyRow } from './execution-keys.ts'

/** An answer as it goes over the wire: made once, so that whoever repeats the call gets the same bytes. */
export interface Answer {
  readonly status: number
  /** JSON; a problem document when the status says so. */
  readonly text: string
  /** The stored answer of an earlier call. */
  readonly replayed: boolean
  /** The caller waited for a call that was running. */
  readonly joined?: boolean
}

/** What an answer tells of the key: `expires_at` null for a key that is not kept. */
export const keyMember = (key: string, expiresAt: Date | null, replayed = false) => ({
  key,
  replayed,
  expires_at: expiresAt?.toISOString() ?? null,
})

export interface Succeeded {
  readonly executionId: string
  readonly output: unknown
  readonly httpStatus: number | null
  readonly servedFrom?: ServedFrom
  readonly ageMs?: number
  readonly attempts: number
  readonly latencyMs: number
  readonly key: string
  readonly expiresAt: Date | null
  /** An operator who has entered it. */
  readonly settledBy?: string
}

/**
 * The answer to a successful execution: for its caller, and for those who repeat the call. The output, which may be
 * large, is written once for both.
 */
export function successTexts(
  { call }: Pick<Execution, 'call'>,
  {
    executionId,
    output,
    httpStatus,
    servedFrom = 'upstream',
    ageMs,
    attempts,
    latencyMs,
    key,
    expiresAt,
    settledBy,
  }: Succeeded,
): { readonly first: string; readonly again: string } {
  const document = JSON.stringify({
    status: 'ok',
    execution_id: executionId,
    output: output ?? null,
    upstream: { http_status: httpStatus },
    served_from: servedFrom,
    age_ms: ageMs === undefined ? undefined : Math.round(ageMs),
    attempts,
    latency_ms: latencyMs,
    request_id: call.requestId,
    trace_id: call.traceId,
    settled_by: settledBy,
  })
  const withKey = (replayed: boolean) =>
    `${document.slice(0, -1)},"idempotency":${JSON.stringify(keyMember(key, expiresAt, replayed))}}`
  return { first: withKey(false), again: withKey(true) }
}

/** The problem that a caller got, for those who repeat the call. */
export function problemText(problem: Problem, { call }: Pick<Execution, 'call'>): string {
  const { idempotency, ...document } = problemDocument(problem, call)
  return JSON.stringify({ ...document, idempotency: { ...(idempotency as object), replayed: true } })
}

/** Members of a problem whose call is not run again by itself: who can say what came of it is an operator. */
const toBeSettled = (executionId: string) => ({
  retryable: false,
  settle: `/executions/${executionId}/settle`,
})

/** Says in a problem that repeating the call will not help. */
export const notRepeatable = (problem: Problem, executionId: string): Problem =>
  new Problem(problem.code, problem.message, {
    ...problem.extra,
    members: { ...problem.extra.members, ...toBeSettled(executionId) },
  })

/** What is known of an execution that had this key before. Errors: `idempotency_in_flight`, `idempotency_key_reused`. */
export function answerOf(row: KeyRow, key: string): Answer {
  if (row.verdict === 'mismatch')
    // Never says what differed: the first request may be another caller's (IETF draft idempotency-key §2.7).
    throw new Problem(
      'idempotency_key_reused',
      'The idempotency key was used before for a different request.',
    )
  if (row.verdict === 'finished' && row.status !== null && row.answer !== null)
    return { status: row.status, text: row.answer, replayed: true }
  if (row.verdict === 'unknown') return unknownAnswer(row, key)
  throw new Problem('idempotency_in_flight', 'A call with this idempotency key is still running.', {
    retryAfterSeconds: 1,
    members: { execution_id: row.execution_id },
  })
}

function unknownAnswer(row: KeyRow, key: string): Answer {
  const stored: Record<string, unknown> =
    row.answer === null ? diedDocument(row, key) : JSON.parse(row.answer)
  return {
    status: row.status ?? 502,
    text: JSON.stringify({ ...stored, ...toBeSettled(row.execution_id) }),
    replayed: true,
  }
}

/** For an execution whose process died before it could say anything. */
const diedDocument = (row: KeyRow, key: string): Record<string, unknown> =>
  problemDocument(
    new Problem(
      'upstream_error',
      'The process that ran this call ended before it knew the outcome: it may have had its effect.',
      {
        members: {
          execution_id: row.execution_id,
          outcome: 'unknown',
          idempotency: keyMember(key, row.expires_at, true),
        },
      },
    ),
    { requestId: row.request_id, traceId: row.trace_id },
  )
