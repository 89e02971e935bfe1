import type { RouteDirectory, RouteIndex, WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import type { AnyProvider } from '../provider.ts'
import { PROVIDERS } from '../providers/registry.ts'

/** As many routes of a provider are told apart by their secrets alone: an event asks all of them. */
const MOST_ROUTES = 50
/** And so many of one workspace, so that none takes the places of all others. */
const MOST_OF_A_WORKSPACE = 10

type Rules = Pick<AnyProvider, 'name' | 'accountIsSigned' | 'readsBySettings'>

const remembered = new WeakMap<RouteIndex, Map<string, readonly WebhookRoute[]>>()

/** True for a provider of which a claim proves nothing: each of its routes may be meant by each request. */
const asksAll = ({ accountIsSigned, readsBySettings }: Rules): boolean =>
  accountIsSigned === false || readsBySettings === true

/**
 * The routes that the address of a provider without a route id finds by their secrets: the oldest, so that what once
 * was found stays so. Of a provider whose accounts are signed only those without an account; claims are found anyway.
 */
export function foundBySecret(
  index: RouteIndex,
  provider: Rules,
  livemode: boolean,
): readonly WebhookRoute[] {
  const ofIndex = remembered.get(index) ?? new Map<string, readonly WebhookRoute[]>()
  remembered.set(index, ofIndex)
  const key = `${provider.name} ${livemode}`
  const known = ofIndex.get(key)
  if (known) return known
  const found: WebhookRoute[] = []
  const perWorkspace = new Map<string, number>()
  for (const route of index.ofProvider(provider.name).toReversed()) {
    const places = perWorkspace.get(route.tenantId) ?? 0
    if (route.livemode !== livemode || (route.account !== null && !asksAll(provider))) continue
    if (places >= MOST_OF_A_WORKSPACE || found.length >= MOST_ROUTES) continue
    perWorkspace.set(route.tenantId, places + 1)
    found.push(route)
  }
  ofIndex.set(key, found)
  return found
}

/** Whether events sent to the address without a route id may reach the route. */
export function isFoundWithoutId(index: RouteIndex, provider: Rules, route: WebhookRoute): boolean {
  if (route.account !== null && !asksAll(provider)) return true
  return foundBySecret(index, provider, route.livemode).some(({ id }) => id === route.id)
}

/** The same with the newest routes, for whoever tells people where a provider may send to. Errors: `database_unavailable`. */
export const findPlainRoutes =
  (routes: Pick<RouteDirectory, 'refresh'>) => async (): Promise<(route: WebhookRoute) => boolean> => {
    const index = await routes.refresh()
    return (route) => {
      const provider = PROVIDERS.get(route.provider)
      return provider !== undefined && isFoundWithoutId(index, provider, route)
    }
  }
