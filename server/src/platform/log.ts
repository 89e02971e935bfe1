import { type DestinationStream, type Logger, pino } from 'pino'

export type Log = Logger

/**
 * The second net behind branded secrets: should a header or a field with one of these names ever reach a log
 * line, its value is cut out.
 */
const REDACTED = [
  'authorization',
  'cookie',
  'client_secret',
  'password',
  'secret',
  'token',
  'access_token',
  '*.authorization',
  '*.cookie',
  '*.client_secret',
  '*.password',
  '*.secret',
  '*.token',
  '*.access_token',
  'req.headers.authorization',
  'headers.authorization',
]

/** Own fields of errors that may be logged. Others can hold what a caller or an upstream has sent. */
const ERROR_FIELDS = [
  'code',
  'class',
  'kind',
  'httpStatus',
  'errno',
  'syscall',
  'constraint',
  'table',
  'why',
] as const
const MAX_CAUSES = 4

interface ErrorDescription extends Record<string, unknown> {
  readonly type: string
  readonly message: string
  readonly stack: string | undefined
}

/** An error as the log may hold it: an allow-list, because errors of drivers and upstreams quote payloads. */
function describeError(error: unknown, depth = 0): ErrorDescription {
  if (!(error instanceof Error)) return { type: typeof error, message: 'not an error', stack: undefined }
  const fields = error as unknown as Record<string, unknown>
  const kept = ERROR_FIELDS.filter((name) => ['string', 'number'].includes(typeof fields[name]))
  return {
    type: error.name,
    message: error.message,
    stack: error.stack,
    ...Object.fromEntries(kept.map((name) => [name, fields[name]])),
    ...(error.cause !== undefined && depth < MAX_CAUSES && { cause: describeError(error.cause, depth + 1) }),
  }
}

/** JSON lines with ISO times and the name of what runs; `level` is one of pino's names. */
export function createLog(service: string, level: string, destination?: DestinationStream): Log {
  const options = {
    level,
    base: { service },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: REDACTED, censor: '[redacted]' },
    serializers: { err: describeError },
  }
  return destination ? pino(options, destination) : pino(options)
}
