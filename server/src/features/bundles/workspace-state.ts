import { everyRow } from '../../platform/db/every-row.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { type ConfigDocument, productPart, readActive } from '../configs/configs.ts'
import { isReservedName } from '../reserved-names/reserved-names.ts'
import { fieldsOf, listRoutes, type WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { BundleDeps, SecretPlace } from './bundle-deps.ts'
import type { BundledRoute } from './bundles.schema.ts'
import { byRouteName, tidyRoute } from './route-names.ts'

/** As much of a workspace as a bundle holds. */
export interface WorkspaceState {
  readonly document: ConfigDocument
  readonly secretRefs: readonly SecretPlace[]
  readonly routes: readonly BundledRoute[]
}

export interface CurrentState extends WorkspaceState {
  readonly version: number
  readonly routeIds: ReadonlyMap<BundledRoute, string>
}

/**
 * Read under the workspace's lock, it is one moment's. What a verification of the hub has added for a while is no part
 * of the workspace: no bundle holds it, and no import takes it away.
 */
export async function readState(
  deps: Pick<BundleDeps, 'secrets'>,
  on: Queryable,
  tenantId: string,
): Promise<CurrentState> {
  const { version, document: active } = await readActive(on, tenantId)
  const routeIds = new Map<BundledRoute, string>()
  for await (const route of everyRow<WebhookRoute>((last, limit) =>
    listRoutes(on, { tenantId, beforeId: last?.id, limit }),
  ))
    if (!isReservedName(route.connector)) routeIds.set(tidyRoute(fieldsOf(route), ''), route.id)
  const secretRefs = [...(await deps.secrets.list(on, tenantId))].filter(({ name }) => !isReservedName(name))
  return {
    version,
    document: productPart(active),
    secretRefs: secretRefs.sort((left, right) => (left.name < right.name ? -1 : 1)),
    routes: [...routeIds.keys()].sort(byRouteName),
    routeIds,
  }
}
