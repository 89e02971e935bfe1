import { type DestinationStream, type Logger, pino, stdSerializers } from 'pino'

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

/** JSON lines with ISO times and the name of what runs; `level` is one of pino's names. */
export function createLog(service: string, level: string, destination?: DestinationStream): Log {
  const options = {
    level,
    base: { service },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: REDACTED, censor: '[redacted]' },
    serializers: { err: stdSerializers.err },
  }
  return destination ? pino(options, destination) : pino(options)
}
