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

/**
 * Time limits (of a transaction, a lock, a statement), deadlocks and other rollbacks, resources that have run out,
 * and errors of the server's own system.
 */
const PASSING_SQLSTATE = /^(25P0[34]|40...|53...|55006|55P03|57...|58...)$/
const CHECK_VIOLATION = '23514'
const DATA_SQLSTATE = /^(22|23|54)...$/

/** A day without a partition has the code of a broken check, but no name of one; a sealed day may be opened again. */
const isDayClosed = ({ code, constraint }: Facts): boolean =>
  code === CHECK_VIOLATION && (constraint === undefined || constraint === 'sealed_by_retention')

interface Facts {
  readonly code?: unknown
  readonly constraint?: unknown
}
const factsOf = (error: unknown): Facts => (error instanceof Error ? (error as Facts) : {})

/**
 * True when the same statement with the same values may well succeed later: the database is away, or it is there and
 * in trouble (somebody holds a lock for minutes, its disk is full). Unlike `isUnavailable` it says nothing about
 * whether an answer "try again" is the right one for a caller.
 */
export function isTransient(error: unknown): boolean {
  if (error instanceof Problem) return error.code === 'database_unavailable'
  const facts = factsOf(error)
  if (isUnavailable(error) || isDayClosed(facts)) return true
  return typeof facts.code === 'string' && PASSING_SQLSTATE.test(facts.code)
}

/** True when Postgres refuses the values themselves: their form, a constraint, their size or depth. */
export function isDataFault(error: unknown): boolean {
  const facts = factsOf(error)
  return typeof facts.code === 'string' && DATA_SQLSTATE.test(facts.code) && !isDayClosed(facts)
}

const UNIQUE_VIOLATION = '23505'

/** True for a unique violation of the named constraint: the caller turns it into its own conflict. */
export function violatesUnique(error: unknown, constraint: string): boolean {
  const { code, constraint: name } = (error ?? {}) as { code?: unknown; constraint?: unknown }
  return code === UNIQUE_VIOLATION && name === constraint
}
