/** Headers of an answer: lower-case names, repeated ones joined by `, ` (RFC 9110 §5.3). */
export type ResponseHeaders = Readonly<Record<string, string>>

export interface DialRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** http or https, without user info. */
  readonly url: string | URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** Ends the request: a reason named `TimeoutError` gives the class `timeout`, any other `aborted`. */
  readonly signal: AbortSignal
  /** Name lookup, TCP and TLS together. */
  readonly connectTimeoutMs: number
  /** From the sent request to the head of the answer; absent = only the signal ends the wait. */
  readonly headersTimeoutMs?: number
  readonly maxResponseBytes: number
  /**
   * What becomes of an answer whose head has come and whose body is longer than that, encoded, broken off or too slow: it
   * is a failure, which is what holds without this; or `cut`: the answer stands with what has come of its body.
   */
  readonly onBodyFault?: 'fail' | 'cut'
}

export interface DialResponse {
  readonly status: number
  readonly headers: ResponseHeaders
  /** With `onBodyFault: 'cut'` perhaps only the beginning. */
  readonly body: Buffer
}
