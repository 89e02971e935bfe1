import type { Dispatcher } from 'undici'
import { DialFailure, type Sent } from './dial-failure.ts'
import type { DialRequest, DialResponse, ResponseHeaders } from './dial-request.ts'
import { failureOf } from './failure-of.ts'

/** Informational answers (1xx) before the answer; nobody honest sends as many. */
const MAX_HINTS = 50

/**
 * Sends one request and collects the answer. undici's dispatch interface and not its `request`, because only
 * here is it known whether a byte was sent: `onRequestStart` is called right before the request is written.
 */
export function exchange(dispatcher: Dispatcher, request: DialRequest, url: URL): Promise<DialResponse> {
  return new Promise((resolve, reject) => {
    const { signal, maxResponseBytes } = request
    const cuts = request.onBodyFault === 'cut'
    let sent: Sent = 'never'
    let controller: Dispatcher.DispatchController | undefined
    let failure: DialFailure | undefined
    let done = false
    let timer: NodeJS.Timeout | undefined
    let hints = 0
    let status = 0
    let headers: ResponseHeaders = {}
    let size = 0
    const chunks: Buffer[] = []

    // OpenSSL has some hundred codes: while an https connection is being made, what nobody knows is one of them.
    const unrecognised = () => (sent === 'never' && url.protocol === 'https:' ? 'tls' : 'protocol')
    const cleanUp = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
    const answer = () => {
      done = true
      cleanUp()
      resolve({ status, headers, body: Buffer.concat(chunks, size) })
    }
    const fail = (reason: DialFailure) => {
      if (failure || done) return
      if (cuts && status !== 0) {
        answer()
        return controller?.abort(reason)
      }
      failure = reason
      cleanUp()
      // Ends the connection: what still comes on it belongs to nobody.
      controller?.abort(reason)
      reject(reason)
    }
    const onAbort = () => {
      fail(failureOf(signal.reason, sent, 'aborted'))
    }
    const failAfter = (ms: number, why: () => DialFailure) => {
      clearTimeout(timer)
      timer = setTimeout(() => fail(why()), ms)
    }

    const handler: Dispatcher.DispatchHandler = {
      onRequestStart(started) {
        if (failure) return started.abort(failure)
        clearTimeout(timer)
        controller = started
        sent = 'maybe'
        if (request.headersTimeoutMs !== undefined)
          failAfter(
            request.headersTimeoutMs,
            () => new DialFailure('timeout', 'maybe', 'The upstream did not begin to answer in time.'),
          )
      },
      onResponseStart(_controller, statusCode, fields) {
        if (statusCode < 200) {
          hints += 1
          if (hints > MAX_HINTS)
            fail(new DialFailure('protocol', 'maybe', 'The upstream sends hints without an answer.'))
          return
        }
        clearTimeout(timer)
        status = statusCode
        headers = flatten(fields)
        const refusal = refusedBody(status, headers, request)
        if (refusal) fail(refusal)
      },
      onResponseData(_controller, chunk) {
        if (failure || done) return
        const room = maxResponseBytes - size
        chunks.push(chunk.subarray(0, room))
        size += Math.min(chunk.length, room)
        if (chunk.length > room) fail(tooLarge(status, maxResponseBytes))
      },
      onResponseEnd() {
        if (!failure && !done) answer()
      },
      onResponseError(_controller, error) {
        fail(failureOf(error, sent, unrecognised()))
      },
    }

    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    failAfter(
      request.connectTimeoutMs,
      () => new DialFailure('connect_timeout', 'never', 'No connection to the upstream in time.'),
    )
    try {
      dispatcher.dispatch(
        {
          origin: url.origin,
          path: url.pathname + url.search,
          method: request.method,
          headers: request.headers,
          body: typeof request.body === 'string' ? Buffer.from(request.body) : (request.body ?? null),
          // The signal is the limit; undici's timers are coarse and would only end the wait a second time.
          headersTimeout: 0,
          bodyTimeout: 0,
        },
        handler,
      )
    } catch (error) {
      fail(failureOf(error, sent, unrecognised()))
    }
  })
}

const tooLarge = (status: number, limit: number) =>
  new DialFailure('response_too_large', 'maybe', `The answer is larger than ${limit} bytes.`, { status })

/** Refuses by the head what must not be read: an encoded body (it may be a bomb) or one announced as too large. */
function refusedBody(
  status: number,
  headers: ResponseHeaders,
  { method, maxResponseBytes, onBodyFault }: DialRequest,
): DialFailure | undefined {
  if (method === 'HEAD' || status === 204 || status === 304) return undefined
  const encoding = headers['content-encoding']?.trim().toLowerCase() ?? ''
  if (encoding !== '' && encoding !== 'identity')
    return new DialFailure('protocol', 'maybe', 'The answer is encoded although none was asked for.', {
      status,
    })
  if (onBodyFault === 'cut') return undefined
  return Number(headers['content-length']) > maxResponseBytes ? tooLarge(status, maxResponseBytes) : undefined
}

/** Prototype-free, because the names come from the other side. */
function flatten(fields: Record<string, string | string[] | undefined>): ResponseHeaders {
  const headers: Record<string, string> = Object.create(null)
  for (const [name, value] of Object.entries(fields))
    if (value !== undefined) headers[name.toLowerCase()] = Array.isArray(value) ? value.join(', ') : value
  return headers
}
