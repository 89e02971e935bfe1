import type { Queryable } from '../../platform/db/statement.ts'
import { listLanes } from './configs.sql.ts'

/**
 * The lane numbers of a workspace by connector name, also of connectors that have left the config: their jobs may
 * still be there.
 */
export async function connectorLanes(on: Queryable, tenantId: string): Promise<ReadonlyMap<string, number>> {
  return new Map((await listLanes(on, { tenantId })).map(({ connector, lane }) => [connector, lane]))
}
