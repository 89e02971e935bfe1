import { Problem } from '../../problems.ts'

/** Classes and codes of SQLSTATE that mean "the server is gone, starting, stopping or full", not "the statement is wrong". */
const UNAVAILABLE_SQLSTATE = /^(08...|57P0[1-5]|53[1-4]00|25006|55000)$/
const UNAVAILABLE_SYSTEM = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
])
/** What pg and pg-pool say without a code when a connection ends under a query or cannot be had in time. */
const UNAVAILABLE_MESSAGE =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Cannot use a pool after calling end)/

/** True when the failure says nothing about the statement: the caller may try again later. */
export function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code } = error as { code?: unknown }
  if (typeof code === 'string') return UNAVAILABLE_SQLSTATE.test(code) || UNAVAILABLE_SYSTEM.has(code)
  return UNAVAILABLE_MESSAGE.test(error.message)
}

/** The problem for a database that cannot be reached; the cause is logged, never shown. */
export const unavailable = (cause: unknown): Problem =>
  new Problem('database_unavailable', 'The hub cannot reach its database at the moment.', {
    retryAfterSeconds: 2,
    cause,
  })

const UNIQUE_VIOLATION = '23505'

/** True for a unique violation of the named constraint: the caller turns it into its own conflict. */
export function violatesUnique(error: unknown, constraint: string): boolean {
  const { code, constraint: name } = (error ?? {}) as { code?: unknown; constraint?: unknown }
  return code === UNIQUE_VIOLATION && name === constraint
}
