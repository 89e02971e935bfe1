export const DIAL_FAILURES = [
  /** The address may not be dialled: private, loopback, metadata, or the URL itself is refused. */
  'address_forbidden',
  'dns',
  'refused',
  'reset',
  'tls',
  'connect_timeout',
  'timeout',
  'response_too_large',
  /** Not HTTP, or HTTP that we do not take (an encoded body, broken headers, a lying length). */
  'protocol',
  'aborted',
] as const
export type DialFailureClass = (typeof DIAL_FAILURES)[number]

/** Whether the other side can have seen anything of the request. `never` is certain, `maybe` is not. */
export type Sent = 'never' | 'maybe'

interface DialFailureExtra {
  /** Set when the head of the answer was read and only its body is refused. */
  readonly status?: number
  readonly cause?: unknown
}

/** How an outgoing request fails. The message may be shown to callers: it names no address and no internals. */
export class DialFailure extends Error {
  readonly class: DialFailureClass
  readonly sent: Sent
  readonly status?: number

  constructor(failureClass: DialFailureClass, sent: Sent, message: string, extra: DialFailureExtra = {}) {
    super(message, extra.cause === undefined ? undefined : { cause: extra.cause })
    this.name = 'DialFailure'
    this.class = failureClass
    this.sent = sent
    if (extra.status !== undefined) this.status = extra.status
  }
}
