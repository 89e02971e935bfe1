import type { ProblemDetail } from '../../problems.ts'
import { memberOf } from '../configs/configs.ts'
import { routeName } from './route-names.ts'
import type { WorkspaceState } from './workspace-state.ts'

/**
 * The only references of a workspace that can lead back to themselves: a route delivers to a callback connector,
 * whose address may be where this hub takes webhooks, i.e. one of its routes. (Policies inherit from one place, and
 * connectors name policies and secrets, which name nothing.) Such a message would go round for ever.
 */
export function cycleFaults(state: WorkspaceState, ingressUrls: readonly string[]): ProblemDetail[] {
  const origins = new Set(ingressUrls.map((url) => new URL(url).origin))
  return state.routes.flatMap((route, at) => {
    const provider = providerReached(state, route, origins)
    if (provider === undefined) return []
    const path = wayBack(state, route, provider, origins)
    return path === undefined
      ? []
      : [{ path: `/body/bundle/webhook_routes/${at}/connector`, message: `leads back to itself: ${path}` }]
  })
}

type Route = WorkspaceState['routes'][number]

/** Breadth first from a route over the routes that its callback reaches, until it comes to the route again. */
function wayBack(
  state: WorkspaceState,
  start: Route,
  first: string,
  origins: ReadonlySet<string>,
): string | undefined {
  const begin = `webhook_route ${routeName(start)} → connector ${start.connector} → /webhooks/${first}`
  const open: { readonly provider: string; readonly path: string }[] = [{ provider: first, path: begin }]
  const seen = new Set<Route>()
  for (let next = open.shift(); next !== undefined; next = open.shift())
    for (const route of state.routes.filter(({ provider }) => provider === next.provider)) {
      const path = `${next.path} → webhook_route ${routeName(route)}`
      if (route === start) return path
      if (seen.has(route)) continue
      seen.add(route)
      const provider = providerReached(state, route, origins)
      if (provider !== undefined)
        open.push({ provider, path: `${path} → connector ${route.connector} → /webhooks/${provider}` })
    }
  return undefined
}

/** The provider as which a callback of the route comes back to this hub; undefined = it goes elsewhere. */
function providerReached(
  { document }: WorkspaceState,
  { connector }: Route,
  origins: ReadonlySet<string>,
): string | undefined {
  const { url: address } = (memberOf(document, 'connectors', connector)?.settings ?? {}) as { url?: unknown }
  const url = typeof address === 'string' ? URL.parse(address) : null
  const [, root, provider] = url?.pathname.split('/') ?? []
  return url && origins.has(url.origin) && root === 'webhooks' ? provider : undefined
}
