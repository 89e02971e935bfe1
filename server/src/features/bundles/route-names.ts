import { canonicalJson } from '../../platform/canonical-json.ts'
import { fieldsOf, settingsOf } from '../webhook-routes/webhook-routes.ts'
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

/**
 * With every field, and parts that are sets in their sorted order, so that the same route is the same text; `at` is
 * where it stands in the request. Errors: `validation_error` for a moment that does not exist.
 */
export function tidyRoute(route: BundledRoute, at: string): BundledRoute {
  const whole = fieldsOf(settingsOf(route, at))
  const byRef = (left: { secret_ref: string }, right: { secret_ref: string }) =>
    left.secret_ref < right.secret_ref ? -1 : 1
  return {
    ...whole,
    secret_refs: [...whole.secret_refs].sort(),
    secret_windows: [...whole.secret_windows].sort(byRef),
  }
}

export const byRouteName = (left: BundledRoute, right: BundledRoute): number =>
  orderOf(left) < orderOf(right) ? -1 : 1

const orderOf = (route: BundledRoute): string => `${routeName(route)} ${canonicalJson(route)}`
