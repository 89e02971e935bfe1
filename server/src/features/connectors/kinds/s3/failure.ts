import type { DialResponse } from '../../../../platform/dial/dial-request.ts'
import { CallFailure, excerptOf, type FailureClass } from '../../../../resilience/failure.ts'
import { parseRetryAfter } from '../../../../resilience/retry-after.ts'
import { classOfStatus } from '../../classify.ts'

/** Codes that ask for a repetition although their status does not (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html). */
const TRANSIENT = new Set(['RequestTimeout', 'OperationAborted', 'ConditionalRequestConflict', 'SlowDown'])

/** The failure of an answer that is no success. All operations may be repeated. `now` is in epoch ms. */
export function failureOfS3({ status, headers, body }: DialResponse, now: number): CallFailure {
  const text = body.toString('utf8')
  const code = /<Code>([A-Za-z0-9.]{1,100})<\/Code>/.exec(text)?.[1]
  const message = /<Message>([^<]{1,1000})<\/Message>/.exec(text)?.[1]
  const retryAfterMs = parseRetryAfter(headers['retry-after'], now)
  return new CallFailure({
    class: classOf(status, code),
    kind: kindOf(status, code),
    message: messageOf(status, code),
    httpStatus: status,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    upstream: {
      http_status: status,
      // The whole answer repeats what was signed.
      body_excerpt:
        code === undefined
          ? excerptOf(body)
          : JSON.stringify({
              code,
              ...(message !== undefined && { message }),
              ...(headers['x-amz-request-id'] !== undefined && { request_id: headers['x-amz-request-id'] }),
            }),
    },
  })
}

function classOf(status: number, code: string | undefined): FailureClass {
  // Servers that are not Amazon's answer so to what they will never do.
  if (status === 501) return 'permanent'
  return code !== undefined && TRANSIENT.has(code) ? 'safe_to_repeat' : classOfStatus(status, true)
}

/** `NoSuchKey` → `no_such_key`; without a code (HEAD has no body) the status. */
function kindOf(status: number, code: string | undefined): string {
  if (status === 429) return 'http_429'
  if (status >= 500 && status !== 501) return 'http_5xx'
  if (code !== undefined)
    return code
      .replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2')
      .replaceAll('.', '_')
      .toLowerCase()
  if (status === 404) return 'not_found'
  if (status === 403) return 'access_denied'
  if (status === 412) return 'precondition_failed'
  return `http_${Math.floor(status / 100)}xx`
}

function messageOf(status: number, code: string | undefined): string {
  if (status >= 300 && status < 400)
    return `The object store answered with a redirect (HTTP ${status}), which is not followed: is the region right?`
  return `The object store answered with HTTP ${status}${code === undefined ? '' : ` (${code})`}.`
}
