import { Problem } from '../../problems.ts'
import type { RouteDirectory } from '../webhook-routes/webhook-routes.ts'
import {
  findWebhookProvider,
  type IncomingRequest,
  type Match,
  type MatchWebhook,
  type RefusalCause,
  readWebhook,
} from '../webhooks/webhooks.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import type { KeptCopy, QuarantineContents } from './quarantine.sql.ts'

type Found = Extract<Match, { readonly found: true }>

export interface VerifyAgainDeps {
  readonly match: MatchWebhook
  readonly routes: Pick<RouteDirectory, 'refresh'>
}

/** What the stored bytes say today: the route of each event, or why there is none. */
export type Verified =
  | { readonly found: true; readonly copy: KeptCopy; readonly events: readonly Found[] }
  | { readonly found: false; readonly cause: RefusalCause | 'unreadable' }

/**
 * The request as it came that time. Undefined when the hub cannot read it (any more): its provider is gone, or its
 * rules have changed.
 */
export function requestOf(row: QuarantineContents, copy: KeptCopy): IncomingRequest | undefined {
  const provider = findWebhookProvider(row.provider)
  if (!provider || !row.body) return undefined
  const { headers, url, at } = copy
  const routeId = row.path_route ?? undefined
  try {
    return readWebhook({ provider, routeId, raw: row.body, headers, url: url ?? undefined }, at)
  } catch (error) {
    if (error instanceof Problem && error.status === 400) return undefined
    throw error
  }
}

/** The events that were refused: the others of the request have been taken already, or are not known. */
export const isRefused =
  ({ events }: Pick<QuarantineContents, 'events'>) =>
  (event: { readonly eventId: string; readonly type: string } | undefined): boolean =>
    event === undefined ||
    events.length === 0 ||
    events.some(({ id, type }) => id === event.eventId && type === event.type)

/**
 * Checks each copy with today's routes and secrets, by the time at which it came, the last one first. For a workspace
 * only its own routes count: what another one would take stays as unknown as it was. Two of its own that would take it
 * instead of one that is gone are none.
 */
export async function verifyAgain(
  { match, routes }: VerifyAgainDeps,
  row: QuarantineContents,
): Promise<Verified> {
  const instead = await routesInstead(routes, row)
  let cause: RefusalCause | 'unreadable' | undefined
  for (const copy of [...(row.copies ?? [])].reverse()) {
    const request = requestOf(row, copy)
    if (!request) continue
    const found: (readonly Found[])[] = []
    for (const routeId of instead ?? [request.routeId]) {
      const matches = await tryMatch(match, { ...request, routeId })
      if (!matches) continue
      const refused = isRefused(row)
      const asked = matches.filter(({ event }) => refused(event))
      const events = asked.filter(
        (each): each is Found =>
          each.found && (row.tenant_id === NO_WORKSPACE || each.route.tenantId === row.tenant_id),
      )
      if (events.length === asked.length && events.length > 0) found.push(events)
      else cause ??= causeOf(asked)
    }
    const [events, ...others] = found
    if (others.length > 0) return { found: false, cause: 'ambiguous' }
    if (events) return { found: true, copy, events }
  }
  return { found: false, cause: instead?.length === 0 ? 'unknown_route' : (cause ?? 'unreadable') }
}

/** A workspace hardly has more of one provider; each costs a check. */
const MOST_ROUTES = 20

/**
 * The routes that a request may have been meant for when the one of its path is not there any more: the account of a
 * route can only be changed by making it again. Only those of the workspace that it was addressed to, newest first.
 * Undefined = its path says it.
 */
async function routesInstead(
  routes: VerifyAgainDeps['routes'],
  { tenant_id, provider, path_route }: QuarantineContents,
): Promise<readonly string[] | undefined> {
  if (tenant_id === NO_WORKSPACE || path_route === null) return undefined
  const index = await routes.refresh()
  if (index.byId(provider, path_route)) return undefined
  const own = index.ofProvider(provider).filter(({ tenantId }) => tenantId === tenant_id)
  return own.slice(0, MOST_ROUTES).map(({ id }) => id)
}

const causeOf = (matches: readonly Match[]): RefusalCause =>
  matches.flatMap((each) => (each.found ? [] : [each.cause]))[0] ?? 'unknown_account'

async function tryMatch(
  match: MatchWebhook,
  request: IncomingRequest,
): Promise<readonly Match[] | undefined> {
  try {
    return await match(request)
  } catch (error) {
    if (error instanceof Problem && error.status === 400) return undefined
    throw error
  }
}
