import type { RouteIndex, WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { AnyProvider, ProviderEvent, SignedRequest, VerifyFailure } from './provider.ts'
import type { Evidence, RouteVerdict, RouteVerifier, VerifyDeps } from './verify-route.ts'

export type { Evidence } from './verify-route.ts'

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
      /** Whose secrets verified the request, in a fixed order: for who answers for it, not for who may have it. */
      readonly verifiedBy?: readonly VerifiedBy[]
    }

export interface VerifiedBy {
  readonly tenantId: string
  readonly routeId: string
}

/** A request, and where it was sent. */
export interface IncomingRequest {
  readonly provider: AnyProvider
  /** From the path `/webhooks/:provider/:route_id`. */
  readonly routeId: string | undefined
  readonly signed: SignedRequest
  readonly parsed: unknown
}

/** One look at a request with the routes of one moment. */
export interface Attempt extends Pick<VerifyDeps, 'log'> {
  readonly request: IncomingRequest
  /** Of the workspaces of this hub (DESIGN D5): what holds for providers that say nothing of it. */
  readonly livemode: boolean
  readonly index: RouteIndex
  readonly verifier: RouteVerifier
}

const refused = (
  event: ProviderEvent | undefined,
  cause: RefusalCause,
  route?: WebhookRoute,
  authentic = false,
): Match => ({ found: false, event, cause, authentic, ...(route && { route }) })

/** Whose each event of the request is, in their order, as far as its candidates tell. */
export const matchEvents = async (attempt: Attempt): Promise<readonly Match[]> => {
  const { provider, parsed, signed } = attempt.request
  if (provider.readsBySettings) return matchBySettings(attempt)
  const events = provider.events(parsed, signed, {})
  return Promise.all(events.map((event) => matchEvent(attempt, event)))
}

function candidatesOf(
  { index, request, livemode }: Attempt,
  { accounts }: ProviderEvent,
): readonly WebhookRoute[] {
  const { provider, routeId } = request
  if (routeId !== undefined) {
    const route = index.byId(provider.name, routeId)
    return route ? [route] : []
  }
  const claimed = accounts.flatMap((account) => index.claimedBy(provider.name, account, livemode) ?? [])
  if (claimed.length > 0) return [...new Set(claimed)]
  return accounts.length === 0 || provider.accounts === 'any' ? index.ownAccount(provider.name, livemode) : []
}

/**
 * Finds the one route that an event belongs to: by the route id, else by the accounts that the payload names,
 * else by whose secret verifies. Never guesses: when two routes verify, neither gets it.
 */
async function matchEvent(attempt: Attempt, event: ProviderEvent): Promise<Match> {
  const { request, verifier } = attempt
  if (event.livemode !== null && event.livemode !== attempt.livemode)
    return refused(event, 'livemode_mismatch', addressedBy(attempt))
  const candidates = candidatesOf(attempt, event)
  if (candidates.length === 0)
    return refused(event, request.routeId === undefined ? 'unknown_account' : 'unknown_route')
  const verdicts = await verifier.verify(candidates)
  tellAbsent(attempt, verdicts)
  const [match, ...more] = verdicts.filter(({ verified }) => verified)
  if (!match?.verified) return noneOf(event, verdicts)
  if (more.length > 0) return refused(event, 'ambiguous', undefined, true)
  const doubt = await doubtOf(attempt, match)
  return doubt ? refused(event, doubt, undefined, doubt === 'ambiguous') : settle(attempt, match, event)
}

/**
 * An account that the signature does not cover proves nothing: when the route of another workspace verifies the same
 * bytes, either of them may be meant. Undefined = nothing is in doubt.
 */
async function doubtOf(
  { request: { provider, routeId }, index, verifier }: Attempt,
  { route: { tenantId } }: Pick<RouteVerdict, 'route'>,
): Promise<'ambiguous' | 'secret_away' | undefined> {
  if (provider.accountIsSigned !== false || routeId !== undefined) return undefined
  const others = index.ofProvider(provider.name).filter((route) => route.tenantId !== tenantId)
  const verdicts = await verifier.verify(others)
  if (verdicts.some(({ verified }) => verified)) return 'ambiguous'
  const away = verdicts.some((verdict) => !verdict.verified && verdict.cause === 'secret_away')
  return away ? 'secret_away' : undefined
}

/**
 * Every route is asked, and what each verifies it reads by its own settings. Of several that verify the accounts that
 * they claim may tell which is meant; what cannot read it may be meant too.
 */
async function matchBySettings(attempt: Attempt): Promise<readonly Match[]> {
  const { index, livemode, verifier } = attempt
  const { provider, parsed, signed, routeId } = attempt.request
  const byId = routeId === undefined ? undefined : index.byId(provider.name, routeId)
  const all = index.ofProvider(provider.name).filter((route) => route.livemode === livemode)
  const candidates = routeId === undefined ? all : byId ? [byId] : []
  if (candidates.length === 0)
    return [refused(undefined, routeId === undefined ? 'unknown_account' : 'unknown_route')]
  const verdicts = await verifier.verify(candidates)
  tellAbsent(attempt, verdicts)
  const readings = verdicts.flatMap((verdict) => {
    if (!verdict.verified) return []
    const read = (): readonly Match[] =>
      provider.events(parsed, signed, verdict.route.settings).map((event) => settle(attempt, verdict, event))
    const { route, workspace } = verdict
    return [{ route, workspace, read, ...attempted(read) }]
  })
  const [first] = readings
  if (!first) return [noneOf(undefined, verdicts)]
  const possible = readings.filter(({ matches, route }) =>
    (matches ?? []).every(({ event }) => event === undefined || fitsAccount(attempt, route, event)),
  )
  const events = (readings.find(({ matches }) => matches)?.matches ?? first.read()).map(({ event }) => event)
  const nobodys = (cause: RefusalCause) =>
    events.map((event) => refused(event, cause, undefined, cause !== 'secret_away'))
  const [one, ...others] = possible
  if (!one) {
    // Of one route alone it is said what is wrong with it.
    const several = readings.length > 1 && readings.some(({ workspace }) => workspace !== undefined)
    return several ? nobodys('account_mismatch') : first.read()
  }
  const cause = others.length > 0 ? 'ambiguous' : await doubtOf(attempt, one)
  return cause ? nobodys(cause) : one.read()
}

function attempted(read: () => readonly Match[]): { readonly matches?: readonly Match[] } {
  try {
    return { matches: read() }
  } catch {
    return {}
  }
}

const settle = (
  attempt: Attempt,
  verdict: Extract<RouteVerdict, { verified: true }>,
  event: ProviderEvent,
): Match => {
  const cause = mismatch(attempt, verdict, event)
  const { route, evidence } = verdict
  return cause ? refused(event, cause, route, true) : { found: true, event, route, evidence }
}

/** The route that stands in the path. */
const addressedBy = ({ index, request: { provider, routeId } }: Attempt): WebhookRoute | undefined =>
  routeId === undefined ? undefined : index.byId(provider.name, routeId)

/** Why a verified event still does not belong to the route; undefined when it does. */
function mismatch(
  attempt: Attempt,
  { route, workspace }: RouteVerdict,
  event: ProviderEvent,
): RefusalCause | undefined {
  if (!workspace || route.livemode !== (workspace.environment === 'prod')) return 'environment_mismatch'
  if (route.livemode !== (event.livemode ?? route.livemode)) return 'livemode_mismatch'
  return fitsAccount(attempt, route, event) ? undefined : 'account_mismatch'
}

function fitsAccount(
  { request: { provider, routeId }, index }: Attempt,
  { account, livemode }: WebhookRoute,
  { accounts }: ProviderEvent,
): boolean {
  if (account !== null) return accounts.includes(account)
  if (accounts.length === 0) return true
  const claimed = (name: string) => index.claimedBy(provider.name, name, livemode) !== undefined
  return provider.accounts === 'any' && (routeId !== undefined || !accounts.some(claimed))
}

/** A signature that fits but is too old tells whose event it was; of several that do not fit none does. */
function noneOf(event: ProviderEvent | undefined, verdicts: readonly RouteVerdict[]): Match {
  const causes = verdicts.flatMap((verdict) =>
    verdict.verified ? [] : [{ cause: verdict.cause, route: verdict.route }],
  )
  const unsure = causes.find(({ cause }) => cause === 'secret_away')
  if (unsure) return refused(event, 'secret_away', unsure.route)
  const near = causes.find(({ cause }) => cause === 'timestamp_outside_tolerance')
  const one = near ?? (causes.length === 1 ? causes[0] : undefined)
  const [common, ...others] = new Set(causes.map(({ cause }) => cause))
  const cause = one?.cause ?? (others.length === 0 ? common : undefined) ?? 'signature_mismatch'
  return refused(event, cause, one?.route)
}

/**
 * The own people of a route must see why a secret did not count: one without a value always, one outside of its window
 * when it may be why nothing verifies. Of routes that do not verify only when none does.
 */
function tellAbsent({ log }: Attempt, verdicts: readonly RouteVerdict[]): void {
  const someone = verdicts.some(({ verified }) => verified)
  for (const { route, absent, verified } of verdicts)
    for (const { secretRef, why } of absent) {
      const about = { tenant_id: route.tenantId, route_id: route.id, secret_ref: secretRef }
      if (why === 'unresolved' && (verified || !someone))
        log.error(about, 'the signing secret of a webhook route does not resolve')
      if (why === 'outside_its_window' && !someone)
        log.info(about, 'a signing secret of a webhook route is outside of its window')
    }
}
