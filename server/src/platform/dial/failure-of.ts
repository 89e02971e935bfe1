import { DialFailure, type DialFailureClass, type Sent } from './dial-failure.ts'

const MESSAGES: Readonly<Record<DialFailureClass, string>> = {
  address_forbidden: 'The target address is not allowed.',
  dns: 'The name of the upstream does not resolve.',
  refused: 'The upstream cannot be reached.',
  reset: 'The upstream closed the connection.',
  tls: 'No secure connection to the upstream: its certificate or its TLS is not acceptable.',
  connect_timeout: 'No connection to the upstream in time.',
  timeout: 'The upstream did not answer in time.',
  response_too_large: 'The answer of the upstream is too large.',
  protocol: 'The upstream does not speak proper HTTP.',
  aborted: 'The request was given up.',
}

const BY_CODE: Readonly<Record<string, DialFailureClass>> = {
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'refused',
  ENETUNREACH: 'refused',
  EHOSTDOWN: 'refused',
  EADDRNOTAVAIL: 'refused',
  EACCES: 'refused',
  EPERM: 'refused',
  EINVAL: 'refused',
  ECONNRESET: 'reset',
  ECONNABORTED: 'reset',
  EPIPE: 'reset',
  UND_ERR_SOCKET: 'reset',
  UND_ERR_CONNECT_TIMEOUT: 'connect_timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  UND_ERR_ABORTED: 'aborted',
  UND_ERR_DESTROYED: 'aborted',
  UND_ERR_CLOSED: 'aborted',
  EPROTO: 'tls',
}

/**
 * The failure that an error of undici, of a socket or of an abort signal stands for. `fallback` is the class of
 * what is not recognised. The cause is kept for the log; the message is one of ours.
 */
export function failureOf(error: unknown, sent: Sent, fallback: DialFailureClass): DialFailure {
  if (error instanceof DialFailure) return error.sent === sent ? error : withSent(error, sent)
  const failureClass = classOf(error, sent) ?? fallback
  return new DialFailure(failureClass, sent, MESSAGES[failureClass], { cause: error })
}

function classOf(error: unknown, sent: Sent): DialFailureClass | undefined {
  if (!(error instanceof Error)) return undefined
  if (error.name === 'TimeoutError') return 'timeout'
  // Several addresses were tried (happy eyeballs): they fail alike nearly always, the first one speaks for all.
  if (error instanceof AggregateError) return classOf(error.errors[0], sent)
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ETIMEDOUT') return sent === 'never' ? 'connect_timeout' : 'timeout'
  return code === undefined ? undefined : BY_CODE[code]
}

const withSent = (failure: DialFailure, sent: Sent): DialFailure =>
  new DialFailure(failure.class, sent, failure.message, {
    ...(failure.status !== undefined && { status: failure.status }),
    cause: failure.cause,
  })
