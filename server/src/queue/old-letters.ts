import type { Queryable } from '../platform/db/statement.ts'
import * as sql from './old-letters.sql.ts'

/**
 * Moves up to `limit` letters of any workspace into the bin that have been dead letters for more than `days`, or what
 * their workspace says instead, each with an event; one that was restored from the bin counts from then. Gives how
 * many. Several processes may do it at once.
 */
export const binOldLetters = async (
  on: Queryable,
  args: { readonly days: number; readonly limit: number },
): Promise<number> => (await sql.binOldLetters(on, args)).moved
