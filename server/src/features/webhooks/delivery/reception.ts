import { routeDelivers, type WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import type { WorkspaceEntry } from '../../workspaces/workspaces.ts'
import type { ProviderEvent } from '../provider.ts'

/** Why the delivery of an event waits without a job. */
export const HELD_WHYS = ['workspace_suspended', 'route_paused', 'connector_missing'] as const
export type HeldWhy = (typeof HELD_WHYS)[number]

/** What becomes of an event: it is delivered, it waits for the end of a cause, or no filter of the route takes it. */
export type Reception =
  | { readonly state: 'accepted' }
  | { readonly state: 'held'; readonly why: HeldWhy }
  | { readonly state: 'ignored' }

/** Where an event would go, as known at one moment. */
export interface Destination {
  /** `paused`: its pause, or whether it is paused. */
  readonly route: { readonly paused: object | boolean | null }
  /** Any value stands for the route's connector of kind callback; undefined = the hub cannot use it, or it is gone. */
  readonly connector: object | undefined
  readonly workspace: Pick<WorkspaceEntry, 'status'> | undefined
}

/**
 * Why nothing is delivered there now; undefined = nothing is in the way. The cause of which the end is told of first
 * comes first: a workspace that goes on may still have a paused route.
 */
export function whyHeld({ route, connector, workspace }: Destination): HeldWhy | undefined {
  if (workspace?.status !== 'active') return 'workspace_suspended'
  if (route.paused) return 'route_paused'
  return connector === undefined ? 'connector_missing' : undefined
}

/**
 * The one rule for every event that has a route, whether it was received, pulled, released or held before. The filter
 * comes first: what would not be delivered anyway need not wait for anything.
 */
export function receptionOf({
  event,
  ...destination
}: Destination & {
  readonly route: WebhookRoute
  readonly event: Pick<ProviderEvent, 'type'>
}): Reception {
  if (!routeDelivers(destination.route, event.type)) return { state: 'ignored' }
  const why = whyHeld(destination)
  return why ? { state: 'held', why } : { state: 'accepted' }
}
