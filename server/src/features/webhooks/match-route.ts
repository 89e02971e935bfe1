import { randomUUID } from 'node:crypto'
import type { Log } from '../../platform/log.ts'
import { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { isStoreAway } from '../secrets/secrets.ts'
import type { RouteIndex, WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import type { HeaderValues, ProviderEvent, Verdict, VerifyFailure, WebhookProvider } from './provider.ts'

/** Why a webhook is not accepted: for the log and the metric. The sender gets the same answer for all of them. */
export type RefusalCause =
  | VerifyFailure
  | 'unknown_account'
  | 'unknown_route'
  | 'account_mismatch'
  | 'livemode_mismatch'
  | 'environment_mismatch'
  | 'ambiguous'
  /** Nobody can say: the store of a signing secret cannot be read at the moment. */
  | 'secret_away'

export type Match =
  | { readonly found: true; readonly route: WebhookRoute; readonly secretRef: string }
  | { readonly found: false; readonly cause: RefusalCause; readonly route?: WebhookRoute }

export interface SignedRequest {
  readonly provider: WebhookProvider
  /** From the path `/webhooks/:provider/:route_id`. */
  readonly routeId: string | undefined
  readonly raw: Buffer
  readonly headers: HeaderValues
  readonly nowMs: number
}

export interface MatchDeps {
  /** Errors: `secret_unresolved` when the ref leads to no value. */
  readonly resolveSecret: (tenantId: string, refName: string) => Promise<Secret>
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
  readonly log: Log
}

/** Checked where there is no route, so that the time of a refusal does not tell which accounts exist. */
const NOBODY = new Secret(randomUUID())

type RouteVerdict = { readonly route: WebhookRoute } & (
  | { readonly secretRef: string }
  | { readonly cause: VerifyFailure | 'secret_away' }
)

function candidatesOf(
  index: RouteIndex,
  { provider, routeId }: SignedRequest,
  { account, livemode }: ProviderEvent,
): readonly WebhookRoute[] {
  if (routeId === undefined && account === null) return index.ownAccount(provider.name, livemode)
  const route =
    routeId === undefined
      ? index.claimedBy(provider.name, account ?? '', livemode)
      : index.byId(provider.name, routeId)
  return route ? [route] : []
}

/**
 * Checks one route's secrets. A ref without a value verifies nothing, and must not hide that another one does; one
 * whose store is away may be the one that does.
 */
async function verify(deps: MatchDeps, request: SignedRequest, route: WebhookRoute): Promise<RouteVerdict> {
  const refs = new Map<Secret, string>()
  let away = false
  for (const ref of route.secretRefs) {
    try {
      const secret = await deps.resolveSecret(route.tenantId, ref)
      for (const accepted of secret.inForce()) refs.set(accepted, ref)
    } catch (error) {
      if (!(error instanceof Problem && error.code === 'secret_unresolved')) throw error
      away ||= isStoreAway(error)
      deps.log.error(
        { tenant_id: route.tenantId, route_id: route.id, secret_ref: ref },
        'the signing secret of a webhook route does not resolve',
      )
    }
  }
  // With nobody's secret in place of the one that is away, so that what is no signature at all is refused as ever.
  const verdict = verdictOf(request, [...refs.keys(), ...(away ? [NOBODY] : [])])
  if (!verdict.verified)
    return { route, cause: away && verdict.cause === 'signature_mismatch' ? 'secret_away' : verdict.cause }
  const secretRef = refs.get(verdict.secret)
  if (secretRef === undefined) throw new Error('the provider accepted a secret that it was not given')
  return { route, secretRef }
}

const verdictOf = ({ provider, raw, headers, nowMs }: SignedRequest, secrets: readonly Secret[]): Verdict =>
  provider.verify(raw, headers, secrets, nowMs)

/** Why a verified event still does not belong to the route; undefined when it does. */
async function mismatch(
  deps: MatchDeps,
  route: WebhookRoute,
  event: ProviderEvent,
): Promise<RefusalCause | undefined> {
  if (route.account !== event.account) return 'account_mismatch'
  if (route.livemode !== event.livemode) return 'livemode_mismatch'
  const workspace = await deps.workspaces.find(route.tenantId)
  return workspace && event.livemode === (workspace.environment === 'prod')
    ? undefined
    : 'environment_mismatch'
}

/** Why there was no route to check: the other livemode of the account may be known. */
function causeOfNone(index: RouteIndex, request: SignedRequest, event: ProviderEvent): RefusalCause {
  if (request.routeId !== undefined) return 'unknown_route'
  const turned = { ...event, livemode: !event.livemode }
  return candidatesOf(index, request, turned).length > 0 ? 'livemode_mismatch' : 'unknown_account'
}

/**
 * Finds the one route that an event belongs to: by the route id, else by the account that the payload names,
 * else by whose secret verifies. Never guesses: when two routes verify, neither gets it.
 */
export async function matchRoute(
  deps: MatchDeps,
  index: RouteIndex,
  request: SignedRequest,
  event: ProviderEvent,
): Promise<Match> {
  const candidates = candidatesOf(index, request, event)
  if (candidates.length === 0) {
    verdictOf(request, [NOBODY])
    return { found: false, cause: causeOfNone(index, request, event) }
  }
  const verdicts = await Promise.all(candidates.map((route) => verify(deps, request, route)))
  const [match, ...more] = verdicts.filter((verdict) => 'secretRef' in verdict)
  if (!match) {
    // A signature that fits but is too old tells whose event it was; of several that do not fit none does.
    const refused = verdicts.filter((verdict) => 'cause' in verdict)
    const unsure = refused.find(({ cause }) => cause === 'secret_away')
    if (unsure) return { found: false, cause: 'secret_away', route: unsure.route }
    const near = refused.find(({ cause }) => cause === 'timestamp_outside_tolerance')
    const one = near ?? (refused.length === 1 ? refused[0] : undefined)
    const [common, ...others] = new Set(refused.map(({ cause }) => cause))
    const cause = one?.cause ?? (others.length === 0 ? common : undefined) ?? 'signature_mismatch'
    return { found: false, cause, ...(one && { route: one.route }) }
  }
  if (more.length > 0) return { found: false, cause: 'ambiguous' }
  const cause = await mismatch(deps, match.route, event)
  return cause ? { found: false, cause, route: match.route } : { found: true, ...match }
}
