/**
 * The one class that carries an error of the catalogue to the caller. Shape: RFC 9457 `application/problem+json`.
 */
import { PROBLEMS } from './problems-catalogue.ts'

export { PROBLEMS } from './problems-catalogue.ts'

export type ProblemCode = keyof typeof PROBLEMS

/** One fault of the input: `path` is a JSON pointer into the request, e.g. `/body/input/amount`. */
export interface ProblemDetail {
  readonly path: string
  readonly message: string
}

export interface ProblemExtra {
  readonly details?: readonly ProblemDetail[]
  /** Sent as `Retry-After`, whole seconds. */
  readonly retryAfterSeconds?: number
  /** Further members of the problem document (RFC 9457 §3.2); never secrets, never internals. */
  readonly members?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/**
 * An expected failure, thrown anywhere and rendered once by the HTTP server.
 * `detail` is shown to the caller: no internals, no secrets, no id of another workspace.
 */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly extra: ProblemExtra

  constructor(code: ProblemCode, detail: string, extra: ProblemExtra = {}) {
    super(detail, extra.cause === undefined ? undefined : { cause: extra.cause })
    this.name = 'Problem'
    this.code = code
    this.extra = extra
  }

  get status(): number {
    return PROBLEMS[this.code].status
  }
}

/** What identifies one answered request in a problem document. */
export interface ProblemContext {
  readonly requestId: string
  readonly traceId: string
}

/**
 * The body of an `application/problem+json` answer. `instance` names the request and not the URL, so that
 * the answers for a missing object and for one of another workspace are the same bytes.
 */
export function problemDocument(problem: Problem, context: ProblemContext): Record<string, unknown> {
  const kind = PROBLEMS[problem.code]
  return {
    type: `/problems/${problem.code}`,
    title: kind.title,
    status: kind.status,
    detail: problem.message,
    instance: `urn:request:${context.requestId}`,
    code: problem.code,
    ...(problem.extra.details && { details: problem.extra.details }),
    next: kind.next,
    request_id: context.requestId,
    trace_id: context.traceId,
    retryable: kind.retryable,
    ...problem.extra.members,
  }
}
