import type { Tx } from '../../platform/db/statement.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { eraseRows } from './erase.sql.ts'

/**
 * Discards what the quarantine has of events that are erased at somebody's wish: requests of the workspace that name
 * one of them, and those of nobody with the very same bytes, which whoever erases has. Gives how many it were.
 */
export const eraseQuarantined = async (
  tx: Tx,
  of: {
    readonly tenantId: string
    readonly eventIds: readonly string[]
    readonly sha256: readonly Buffer[]
    readonly actor: string
    readonly why: string
  },
): Promise<number> =>
  (await eraseRows(tx, { ...of, by: of.actor, nobody: NO_WORKSPACE, why: `The event was erased: ${of.why}` }))
    .length
