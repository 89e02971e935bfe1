import { canonicalJson } from '../../platform/canonical-json.ts'
import type { BundledRoute } from './bundles.schema.ts'

const mode = ({ livemode }: BundledRoute): string => (livemode ? 'live' : 'test')

/**
 * What makes a route the same route in two workspaces. Accounts have one route each; routes for the sender's own
 * account are told apart by their secrets.
 */
export const routeName = (route: BundledRoute): string =>
  route.account === null
    ? `${route.provider}/own/${mode(route)}/${[...route.secret_refs].sort().join('+')}`
    : `${route.provider}/${route.account}/${mode(route)}`

/** Parts that are sets in their sorted order, so that the same route is the same text. */
export const tidyRoute = (route: BundledRoute): BundledRoute => ({
  ...route,
  secret_refs: [...route.secret_refs].sort(),
})

export const byRouteName = (left: BundledRoute, right: BundledRoute): number =>
  orderOf(left) < orderOf(right) ? -1 : 1

const orderOf = (route: BundledRoute): string => `${routeName(route)} ${canonicalJson(route)}`
