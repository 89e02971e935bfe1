import type { RefusalCause, RefusedWebhook } from '../webhooks/webhooks.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import type { Share } from './quarantine.sql.ts'

/** Whose a request in quarantine is to look at. */
export interface Owner {
  /** The id of no workspace when it is nobody's. */
  readonly tenantId: string
  /** The route that it was addressed to. */
  readonly routeId: string | null
  /** Only an unproven name of an account leads there: the workspace is not shown what is inside. */
  readonly sealed: boolean
  /** What the workspace may know of the sender without a proof: the account that its own route claims. */
  readonly claimed: string | null
}

const NOBODY: Owner = { tenantId: NO_WORKSPACE, routeId: null, sealed: false, claimed: null }

/** What is a fault of the route or of its secrets, which the people of its workspace can mend. */
const OF_THE_ROUTE: ReadonlySet<RefusalCause> = new Set([
  'signature_missing',
  'signature_malformed',
  'signature_mismatch',
  'timestamp_outside_tolerance',
  'no_usable_secret',
  'secret_away',
  'livemode_mismatch',
  'environment_mismatch',
])

/**
 * A request is a workspace's when it was sent to a route of it (or its secret verifies it) and failed there by signature,
 * time or mode. Who claims an account without having its secret must not read what is sent to it: that stays sealed. A
 * route that was merely the only one to be tried was not addressed.
 */
function ownerOfOne(
  routeId: string | undefined,
  { cause, route, authentic, event }: RefusedWebhook['refused'][number],
): Owner {
  if (!route || !OF_THE_ROUTE.has(cause)) return NOBODY
  const owner = { tenantId: route.tenantId, routeId: route.id, sealed: false, claimed: route.account }
  if (routeId === route.id) return owner
  // The rest of the request may be somebody else's.
  if (event?.part !== undefined) return NOBODY
  if (authentic) return owner
  const claims = route.account !== null && event?.accounts.includes(route.account) === true
  return claims ? { ...owner, sealed: true } : NOBODY
}

/** Whose the whole request is: the one owner of all its refused events, or nobody's. */
export function ownerOf({ request: { routeId }, refused }: RefusedWebhook): Owner {
  const [first = NOBODY, ...more] = refused.map((each) => ownerOfOne(routeId, each))
  if (more.some(({ tenantId, routeId: other }) => tenantId !== first.tenantId || other !== first.routeId))
    return NOBODY
  return { ...first, sealed: [first, ...more].some(({ sealed }) => sealed) }
}

/**
 * The workspace that answers for the room: the one whose secret verified it, though it may see nothing of it; else the one
 * that it was addressed to. Of several the same one each time, so that two workspaces of one person have no more room.
 */
export function causeOf({ refused }: RefusedWebhook, { tenantId }: Owner): string {
  const verified = refused.flatMap(({ verifiedBy }) => verifiedBy ?? [])
  if (verified.length === 0 || verified.some((by) => by.tenantId === tenantId)) return tenantId
  return verified[0]?.tenantId ?? tenantId
}

/** Of the room; the same rule as `quarantine_share` in the database. */
export function shareOf({ tenantId, sealed }: Owner, authentic: boolean): Share {
  if (authentic) return 'verified'
  if (sealed) return 'claimed'
  return tenantId === NO_WORKSPACE ? 'nobody' : 'routed'
}
