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

/**
 * The key under which an execution goes upstream, the same on every attempt and re-run. Not the caller's: workspaces
 * may share an account of a provider, and what an operator has settled as not done must go out under a new key.
 */
export const upstreamKeyOf = (executionId: string): string => `orch-${executionId}`

/** What an answer tells of the keys: `expires_at` null for a key that is not kept. */
export const keyMember = (key: string, executionId: string, expiresAt: Date | null, replayed = false) => ({
  key,
  upstream_key: upstreamKeyOf(executionId),
  replayed,
  expires_at: expiresAt?.toISOString() ?? null,
})

export interface Succeeded {
  readonly executionId: string
  readonly output: unknown
  readonly httpStatus: number | null
  readonly servedFrom?: ServedFrom | 'operator' | 'dry_run'
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
    `${document.slice(0, -1)},"idempotency":${JSON.stringify(keyMember(key, executionId, expiresAt, replayed))}}`
  return { first: withKey(false), again: withKey(true) }
}

/** The problem that a caller got, for those who repeat the call. */
export function problemText(problem: Problem, { call }: Pick<Execution, 'call'>): string {
  const { idempotency, ...document } = problemDocument(problem, call)
  return JSON.stringify({ ...document, idempotency: { ...(idempotency as object), replayed: true } })
}

const ASK_THE_OPERATOR =
  'Repeating the call does not help. Find out at the upstream what came of it, and enter it on the control plane with POST to the path in `settle`.'
const REPEAT =
  'Repeat the call with the same key: it is run again in a way that has no second effect. Or find out at the upstream what came of it, and enter it on the control plane with POST to the path in `settle`.'
const LOOK_UPSTREAM =
  'The call had no key, so a repetition may have a second effect: find out at the upstream what came of it first.'

/** Members of an answer whose outcome nobody knows. */
const unknownMembers = (executionId: string, repeatable: boolean) => ({
  ...(!repeatable && { retryable: false }),
  next: repeatable ? REPEAT : ASK_THE_OPERATOR,
  settle: `/executions/${executionId}/settle`,
})

const withMembers = (problem: Problem, members: object): Problem =>
  new Problem(problem.code, problem.message, {
    ...problem.extra,
    members: { ...problem.extra.members, ...members },
  })

/** Says in a problem what can be done about its unknown outcome. */
export const withAdvice = (problem: Problem, executionId: string, repeatable: boolean): Problem =>
  withMembers(problem, unknownMembers(executionId, repeatable))

/** The same where the call had no key. */
export const withoutKey = (problem: Problem): Problem =>
  withMembers(problem, { retryable: false, next: LOOK_UPSTREAM })

/** Says in a problem that the key is free again. */
export function withFreeKey(problem: Problem): Problem {
  const { idempotency } = problem.extra.members ?? {}
  return idempotency === undefined
    ? problem
    : withMembers(problem, { idempotency: { ...(idempotency as object), expires_at: null } })
}

/**
 * What is known of an execution that had this key before. Errors: `idempotency_in_flight`, `idempotency_key_reused`,
 * `idempotent_response_gone`.
 */
export function answerOf(row: KeyRow, key: string): Answer {
  if (row.verdict === 'mismatch')
    // Never says what differed: the first request may be another caller's (IETF draft idempotency-key §2.7).
    throw new Problem(
      'idempotency_key_reused',
      'The idempotency key was used before for a different request.',
    )
  if (row.verdict === 'finished' && row.answer === null)
    throw new Problem(
      'idempotent_response_gone',
      'The call was carried out, but its answer was too large to be kept. It is not carried out again.',
      { members: { execution_id: row.execution_id } },
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
    text: JSON.stringify({ ...stored, ...unknownMembers(row.execution_id, false) }),
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
          idempotency: keyMember(key, row.execution_id, row.expires_at, true),
        },
      },
    ),
    { requestId: row.request_id, traceId: row.trace_id },
  )
