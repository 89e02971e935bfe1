import { isTransient } from '../../../platform/db/failures.ts'
import type { Queryable } from '../../../platform/db/statement.ts'
import type { Log } from '../../../platform/log.ts'
import type { WorkspaceDirectory } from '../../workspaces/workspaces.ts'
import type { DeliveryTarget } from './delivery.ts'
import { COUNTED, countHeld, type HeldGroupRow } from './held.sql.ts'
import { type HeldWhy, whyHeld } from './reception.ts'

/** What is in memory: to look at a thousand routes every other second must not cost a statement for each. */
export interface WayDeps {
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
  /** Of kind callback, in the active config; undefined = there is none that this hub can use. */
  readonly activeConnector: (tenantId: string, connector: string) => Promise<DeliveryTarget | undefined>
}

/** Where the held events of a route go, if nothing is in the way. */
export interface Way {
  readonly group: HeldGroupRow
  readonly connector: string
  readonly target: DeliveryTarget | undefined
  /** What they wait for now, whatever held them first; undefined = for nothing. */
  readonly why: HeldWhy | undefined
}

/** Of a route that is gone there is one way for each connector that its events came for. */
export async function waysOf(deps: WayDeps, group: HeldGroupRow): Promise<Way[]> {
  const { tenant_id: tenantId, paused } = group
  const workspace = await deps.workspaces.find(tenantId)
  const free = workspace?.status === 'active' && paused !== true
  return Promise.all(
    group.connectors.map(async (connector) => {
      const target = free ? await deps.activeConnector(tenantId, connector) : undefined
      const why = whyHeld({ route: { paused }, connector: target, workspace })
      return { group, connector, target, why }
    }),
  )
}

/** How many events of a route are held, counted up to 10,000; whether anything is in their way or not. */
export async function heldOf(
  on: Queryable,
  tenantId: string,
  routeId: string,
): Promise<{ readonly events: number; readonly most: number }> {
  const of = [{ tenant_id: tenantId, route_id: routeId, connector: null }]
  return { events: (await countHeld(on, { of }))[0]?.events ?? 0, most: COUNTED }
}

/** What is wrong with one route keeps no other from its release; a database in trouble ends the round. */
export async function aloneOf<T>(
  log: Pick<Log, 'error'>,
  { tenant_id, route_id }: HeldGroupRow,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work()
  } catch (err) {
    if (isTransient(err)) throw err
    log.error({ err, tenant_id, route_id }, 'the held webhooks of a route could not be looked at')
    return undefined
  }
}
