/**
 * What a failed call means for repeating it. The class, not the kind, decides about retries:
 * - `never_sent`: no byte of the request can have reached the upstream. Always repeatable.
 * - `safe_to_repeat`: it may have arrived, but repeating does no harm (the operation is safe, or the upstream
 *   recognises our idempotency key).
 * - `outcome_unknown`: it may have had its effect and repeating may have it twice. Never repeated blindly.
 * - `permanent`: the same request will fail the same way, or it has had its effect. Not repeated.
 */
export const FAILURE_CLASSES = ['never_sent', 'safe_to_repeat', 'outcome_unknown', 'permanent'] as const
export type FailureClass = (typeof FAILURE_CLASSES)[number]

/**
 * What a failed call has done upstream, which is another question than whether it is repeated. `not_sent`: nothing
 * arrived that could be carried out. `put_off`: the upstream says that it has not carried it out and may do so later.
 * `refused`: it has not, and will not. `unknown`: it may have had its effect. `done`: it had its effect, only its
 * answer is unusable. From the least to the most that may have happened.
 */
export const CALL_EFFECTS = ['not_sent', 'put_off', 'refused', 'unknown', 'done'] as const
export type CallEffect = (typeof CALL_EFFECTS)[number]

/** Answers by which an upstream says that it has not carried the request out, and may do so later (RFC 8470, RFC 6585). */
const PUT_OFF = new Set([425, 429])

/** Which of the hub's own rules refused a call before anything was sent. Such a call is not repeated at once. */
export type RefusedBy = 'rate_limit' | 'bulkhead' | 'breaker'

/** How many bytes of an upstream's answer are kept to explain a failure. */
const EXCERPT_BYTES = 2048

/** What the upstream said, in its wire names because it is shown to callers as it is. */
export interface UpstreamAnswer {
  readonly http_status: number
  /** At most `EXCERPT_BYTES` bytes of UTF-8, broken sequences replaced. */
  readonly body_excerpt: string
}

/** A limit that had no room for a call. */
export interface FullLimit {
  /** What it is of, as the rule names it. */
  readonly name: string
  /** Permits that were left: less than the call costs. */
  readonly remaining: number
  /** How long it takes until all of a used up burst is back. */
  readonly refillMs: number
}

export interface CallFailureFields {
  readonly class: FailureClass
  /** What happened, stable and lower case: `timeout`, `refused`, `dns`, `http_5xx`, `address_forbidden`, … */
  readonly kind: string
  /** One sentence that may be shown to the caller: no secrets, no internals. */
  readonly message: string
  readonly httpStatus?: number
  /** The wait that the upstream asked for, or until the rule that refused has room. */
  readonly retryAfterMs?: number
  readonly refusedBy?: RefusedBy
  /** Of `rate_limit`: those that keep the call waiting, the longest wait first. */
  readonly fullLimits?: readonly FullLimit[]
  readonly upstream?: UpstreamAnswer
  /** Given where class and status do not tell it: by protocols other than HTTP, and by calls made before the call. */
  readonly effect?: CallEffect
  readonly cause?: unknown
}

/** The one error by which a call through the pipeline fails. Anything else thrown in a call is a bug or a `Problem`. */
export class CallFailure extends Error {
  readonly class: FailureClass
  readonly kind: string
  readonly httpStatus?: number
  readonly retryAfterMs?: number
  readonly refusedBy?: RefusedBy
  readonly fullLimits?: readonly FullLimit[]
  readonly upstream?: UpstreamAnswer
  readonly effect: CallEffect

  constructor(fields: CallFailureFields) {
    super(fields.message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.name = 'CallFailure'
    this.class = fields.class
    this.kind = fields.kind
    if (fields.httpStatus !== undefined) this.httpStatus = fields.httpStatus
    if (fields.retryAfterMs !== undefined) this.retryAfterMs = fields.retryAfterMs
    if (fields.refusedBy !== undefined) this.refusedBy = fields.refusedBy
    if (fields.fullLimits !== undefined) this.fullLimits = fields.fullLimits
    if (fields.upstream !== undefined) this.upstream = fields.upstream
    this.effect = fields.effect ?? usualEffect(fields)
  }

  /** The same failure, with the same effect, under another class. */
  as(failureClass: FailureClass): CallFailure {
    return failureClass === this.class ? this : new CallFailure({ ...fieldsOf(this), class: failureClass })
  }
}

/** As HTTP has it: the status decides when there is one. */
function usualEffect({ class: failureClass, httpStatus }: CallFailureFields): CallEffect {
  if (failureClass === 'never_sent') return 'not_sent'
  if (httpStatus !== undefined && PUT_OFF.has(httpStatus)) return 'put_off'
  if (failureClass !== 'permanent') return 'unknown'
  if (httpStatus === undefined) return 'not_sent'
  return httpStatus < 300 ? 'done' : 'refused'
}

const fieldsOf = (failure: CallFailure): CallFailureFields => ({
  class: failure.class,
  kind: failure.kind,
  message: failure.message,
  ...(failure.httpStatus !== undefined && { httpStatus: failure.httpStatus }),
  ...(failure.retryAfterMs !== undefined && { retryAfterMs: failure.retryAfterMs }),
  ...(failure.refusedBy && { refusedBy: failure.refusedBy }),
  ...(failure.fullLimits && { fullLimits: failure.fullLimits }),
  ...(failure.upstream && { upstream: failure.upstream }),
  effect: failure.effect,
  cause: failure,
})

/** The first `EXCERPT_BYTES` bytes of a body as text; a sequence cut in the middle is dropped, not mangled. */
export function excerptOf(body: Uint8Array): string {
  const cut = body.byteLength > EXCERPT_BYTES
  // `stream: true` holds back an incomplete last sequence instead of replacing it by U+FFFD.
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(body.subarray(0, EXCERPT_BYTES), {
    stream: cut,
  })
}
