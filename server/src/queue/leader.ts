import type { Queryable } from '../platform/db/statement.ts'
import { lead } from './housekeeping.sql.ts'

/**
 * Whether `owner` leads the work called `name`, which one process does for all, for the next `ttlMs`. A term may end
 * while the work still runs, so the work must bear a second one beside it.
 */
export const takesLead = async (
  on: Queryable,
  term: { readonly name: string; readonly owner: string; readonly ttlMs: number },
): Promise<boolean> => (await lead(on, term)) !== undefined
