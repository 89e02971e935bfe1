import type { Queryable } from '../../platform/db/statement.ts'
import { type ConfigDocument, readActive } from '../configs/configs.ts'
import { listRoutes, type WebhookRoute } from '../webhook-routes/webhook-routes.ts'
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

const PAGE = 200

const bundled = (route: WebhookRoute): BundledRoute =>
  tidyRoute({
    provider: route.provider,
    account: route.account,
    livemode: route.livemode,
    connector: route.connector,
    secret_refs: [...route.secretRefs],
    queue: route.queue,
    event_types: [...route.eventTypes],
    emit_on_delivery: route.emitOnDelivery.map(({ eventTypes, event }) => ({
      event_types: [...eventTypes],
      event,
    })),
  })

/** Read under the workspace's lock, it is one moment's. */
export async function readState(
  deps: Pick<BundleDeps, 'secrets'>,
  on: Queryable,
  tenantId: string,
): Promise<CurrentState> {
  const { version, document } = await readActive(on, tenantId)
  const routeIds = new Map<BundledRoute, string>()
  let beforeId: string | undefined
  do {
    const page = await listRoutes(on, { tenantId, beforeId, limit: PAGE })
    for (const route of page) routeIds.set(bundled(route), route.id)
    beforeId = page.length < PAGE ? undefined : page.at(-1)?.id
  } while (beforeId !== undefined)
  const secretRefs = [...(await deps.secrets.list(on, tenantId))]
  return {
    version,
    document,
    secretRefs: secretRefs.sort((left, right) => (left.name < right.name ? -1 : 1)),
    routes: [...routeIds.keys()].sort(byRouteName),
    routeIds,
  }
}
