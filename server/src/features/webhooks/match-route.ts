import { randomUUID } from 'node:crypto'
import type { Log } from '../../platform/log.ts'
import { Secret, secretFingerprint } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { isStoreAway } from '../secrets/secrets.ts'
import type { RouteIndex, WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import type {
  AnyProvider,
  ProviderEvent,
  ProviderTools,
  SignedRequest,
  Verdict,
  VerifyFailure,
} from './provider.ts'

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

/** Which secret verified a request: kept with it, so that the check can be repeated. */
export interface Evidence {
  readonly secretRef: string
  /** Tells the values of a secret apart without telling them. */
  readonly secretFingerprint: string
}

/** What is known of one event of a request: whose it is, or why nobody's. */
export type Match =
  | {
      readonly found: true
      readonly event: ProviderEvent
      readonly route: WebhookRoute
      readonly evidence: Evidence
    }
  | {
      readonly found: false
      /** Undefined when it could not be read without the settings of a route. */
      readonly event: ProviderEvent | undefined
      readonly cause: RefusalCause
      /** The one route that it was addressed to. */
      readonly route?: WebhookRoute
      /** The secret of some route verified it: it is from the provider, only not for whom it says. */
      readonly authentic: boolean
    }

/** A request, and where it was sent. */
export interface IncomingRequest {
  readonly provider: AnyProvider
  /** From the path `/webhooks/:provider/:route_id`. */
  readonly routeId: string | undefined
  readonly signed: SignedRequest
  readonly parsed: unknown
}

export interface MatchDeps {
  /** Errors: `secret_unresolved` when the ref leads to no value. */
  readonly resolveSecret: (tenantId: string, refName: string) => Promise<Secret>
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
  readonly tools: ProviderTools
  /** Of the workspaces of this hub (DESIGN D5): what holds for providers that say nothing of it. */
  readonly livemode: boolean
  readonly log: Log
}

/** Checked where there is no route, so that the time of a refusal does not tell which accounts exist. */
const NOBODY = new Secret(randomUUID())

type RouteVerdict = { readonly route: WebhookRoute } & (
  | { readonly evidence: Evidence }
  | { readonly cause: VerifyFailure | 'secret_away' }
)

function candidatesOf(
  index: RouteIndex,
  { provider, routeId }: IncomingRequest,
  { accounts }: ProviderEvent,
  livemode: boolean,
): readonly WebhookRoute[] {
  if (routeId !== undefined) {
    const route = index.byId(provider.name, routeId)
    return route ? [route] : []
  }
  const claimed = accounts.flatMap((account) => index.claimedBy(provider.name, account, livemode) ?? [])
  if (claimed.length > 0) return [...new Set(claimed)]
  return accounts.length === 0 || provider.accounts === 'any' ? index.ownAccount(provider.name, livemode) : []
}

/**
 * Checks one route's secrets. A ref without a value verifies nothing, and must not hide that another one does; one
 * whose store is away may be the one that does.
 */
async function verify(deps: MatchDeps, request: IncomingRequest, route: WebhookRoute): Promise<RouteVerdict> {
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
  const verdict = await verdictOf(deps, request, [...refs.keys(), ...(away ? [NOBODY] : [])])
  if (!verdict.verified)
    return { route, cause: away && verdict.cause === 'signature_mismatch' ? 'secret_away' : verdict.cause }
  const secretRef = refs.get(verdict.secret)
  if (secretRef === undefined) throw new Error('the provider accepted a secret that it was not given')
  return { route, evidence: { secretRef, secretFingerprint: secretFingerprint(verdict.secret) } }
}

const verdictOf = async (
  { tools }: MatchDeps,
  { provider, signed }: IncomingRequest,
  secrets: readonly Secret[],
): Promise<Verdict> => provider.verify(signed, secrets, {}, tools)

/** Why a verified event still does not belong to the route; undefined when it does. */
async function mismatch(
  deps: MatchDeps,
  { provider }: IncomingRequest,
  route: WebhookRoute,
  event: ProviderEvent,
): Promise<RefusalCause | undefined> {
  const fits =
    route.account === null
      ? event.accounts.length === 0 || provider.accounts === 'any'
      : event.accounts.includes(route.account)
  if (!fits) return 'account_mismatch'
  const livemode = event.livemode ?? route.livemode
  if (route.livemode !== livemode) return 'livemode_mismatch'
  const workspace = await deps.workspaces.find(route.tenantId)
  return workspace && livemode === (workspace.environment === 'prod') ? undefined : 'environment_mismatch'
}

/** Why there was no route to check: the other livemode of the account may be known. */
function causeOfNone(
  index: RouteIndex,
  request: IncomingRequest,
  event: ProviderEvent,
  livemode: boolean,
): RefusalCause {
  if (request.routeId !== undefined) return 'unknown_route'
  return candidatesOf(index, request, event, !livemode).length > 0 ? 'livemode_mismatch' : 'unknown_account'
}

/** Whose each event of the request is, in their order. Errors: `validation_error` for what is no event of the provider. */
export async function matchEvents(
  deps: MatchDeps,
  index: RouteIndex,
  request: IncomingRequest,
): Promise<readonly Match[]> {
  const { provider, parsed, signed } = request
  const events = provider.events(parsed, signed, {})
  return Promise.all(events.map((event) => matchRoute(deps, index, request, event)))
}

/**
 * Finds the one route that an event belongs to: by the route id, else by the account that the payload names,
 * else by whose secret verifies. Never guesses: when two routes verify, neither gets it.
 */
async function matchRoute(
  deps: MatchDeps,
  index: RouteIndex,
  request: IncomingRequest,
  event: ProviderEvent,
): Promise<Match> {
  const livemode = event.livemode ?? deps.livemode
  const none = (cause: RefusalCause, route?: WebhookRoute, authentic = false): Match => ({
    found: false,
    event,
    cause,
    authentic,
    ...(route && { route }),
  })
  const candidates = candidatesOf(index, request, event, livemode)
  if (candidates.length === 0) {
    await verdictOf(deps, request, [NOBODY])
    return none(causeOfNone(index, request, event, livemode))
  }
  const verdicts = await Promise.all(candidates.map((route) => verify(deps, request, route)))
  const [match, ...more] = verdicts.filter((verdict) => 'evidence' in verdict)
  if (!match) {
    // A signature that fits but is too old tells whose event it was; of several that do not fit none does.
    const refused = verdicts.filter((verdict) => 'cause' in verdict)
    const unsure = refused.find(({ cause }) => cause === 'secret_away')
    if (unsure) return none('secret_away', unsure.route)
    const near = refused.find(({ cause }) => cause === 'timestamp_outside_tolerance')
    const one = near ?? (refused.length === 1 ? refused[0] : undefined)
    const [common, ...others] = new Set(refused.map(({ cause }) => cause))
    const cause = one?.cause ?? (others.length === 0 ? common : undefined) ?? 'signature_mismatch'
    return none(cause, one?.route)
  }
  if (more.length > 0) return none('ambiguous', undefined, true)
  const cause = await mismatch(deps, request, match.route, event)
  return cause ? none(cause, match.route, true) : { found: true, event, ...match }
}
