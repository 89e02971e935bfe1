import { Problem } from '../../../problems.ts'
import type { RouteIndex, WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import type { AnyProvider, ProviderEvent, SignedRequest, VerifyFailure } from '../provider.ts'
import { foundBySecret } from './plain-address.ts'
import type { Evidence, RouteVerdict, RouteVerifier } from './verify-route.ts'

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
  /** Nobody can say: the store of a secret of the route that it is for cannot be read at the moment. */
  | 'secret_away'
  /** Nobody can say: a large body, and too many of those at this moment to try the secrets of many routes. */
  | 'too_many_checks'

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
export interface Attempt {
  readonly request: IncomingRequest
  /** Of the workspaces of this hub (DESIGN D5): what holds for providers that say nothing of it. */
  readonly livemode: boolean
  readonly index: RouteIndex
  readonly verifier: RouteVerifier
  /** Hears of every look at secrets of which some were absent. */
  readonly tellAbsent: (verdicts: readonly RouteVerdict[]) => void
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

/** The routes that an event may be for: of `unnamed` one counts only when none of `named` verifies. */
function candidatesOf(
  { index, request, livemode }: Attempt,
  { accounts }: ProviderEvent,
): { readonly named: readonly WebhookRoute[]; readonly unnamed: readonly WebhookRoute[] } {
  const { provider, routeId } = request
  if (routeId !== undefined) {
    const route = index.byId(provider.name, routeId)
    return { named: route ? [route] : [], unnamed: [] }
  }
  const claimed = new Set(
    accounts.flatMap((account) => index.claimedBy(provider.name, account, livemode) ?? []),
  )
  const found = foundBySecret(index, provider, livemode)
  return {
    named: provider.accountIsSigned === false ? found.filter((route) => claimed.has(route)) : [...claimed],
    unnamed:
      accounts.length === 0 || provider.accounts === 'any'
        ? found.filter(({ account }) => account === null)
        : [],
  }
}

/**
 * Finds the one route that an event belongs to: by the route id, else by the accounts that the payload names,
 * else by whose secret verifies. Never guesses: when two routes verify, neither gets it. A claim that does not verify
 * keeps nothing from whoever proves it.
 */
async function matchEvent(attempt: Attempt, event: ProviderEvent): Promise<Match> {
  const { request, verifier, livemode, tellAbsent } = attempt
  const { named, unnamed } = candidatesOf(attempt, event)
  const wrongMode = event.livemode !== null && event.livemode !== livemode
  if (named.length + unnamed.length === 0) {
    if (wrongMode) return refused(event, 'livemode_mismatch')
    return refused(event, request.routeId === undefined ? 'unknown_account' : 'unknown_route')
  }
  const ofNamed = await verifier.verify(named)
  const more = ofNamed.some(isVerified) ? [] : await verifier.verifyWithinBudget(unnamed)
  if (!more) return refused(event, 'too_many_checks')
  const verdicts = [...ofNamed, ...more]
  tellAbsent(verdicts)
  const [match, ...others] = verdicts.filter(isVerified)
  if (wrongMode) {
    const route = match && others.length === 0 ? match.route : addressedBy(attempt)
    return refused(event, 'livemode_mismatch', route, match !== undefined)
  }
  if (!match) return noneOf(event, ofNamed, more)
  if (others.length > 0) return refused(event, 'ambiguous', undefined, true)
  const doubt = await doubtOf(attempt, match)
  return doubt ? refused(event, doubt, undefined, doubt === 'ambiguous') : settle(attempt, match, event)
}

type Verified = Extract<RouteVerdict, { readonly verified: true }>
const isVerified = (verdict: RouteVerdict): verdict is Verified => verdict.verified

/**
 * An account that the signature does not cover proves nothing: when the route of another workspace verifies the same
 * bytes, either of them may be meant. What cannot be read of another workspace is no doubt: it could stop the events of
 * all others with it. Undefined = nothing is in doubt.
 */
async function doubtOf(
  { request: { provider, routeId }, index, verifier }: Attempt,
  { route: { tenantId } }: Pick<RouteVerdict, 'route'>,
): Promise<'ambiguous' | 'too_many_checks' | undefined> {
  if (provider.accountIsSigned !== false || routeId !== undefined) return undefined
  const others = [true, false]
    .flatMap((livemode) => foundBySecret(index, provider, livemode))
    .filter((route) => route.tenantId !== tenantId)
  const verdicts = await verifier.verifyWithinBudget(others)
  if (!verdicts) return 'too_many_checks'
  return verdicts.some(isVerified) ? 'ambiguous' : undefined
}

/**
 * Every route that the address finds is asked, and what each verifies it reads by its own settings. Of several that
 * verify the accounts that they claim may tell which is meant; what cannot read it may be meant too.
 */
async function matchBySettings(attempt: Attempt): Promise<readonly Match[]> {
  const { index, livemode, verifier } = attempt
  const { provider, parsed, signed, routeId } = attempt.request
  const byId = addressedBy(attempt)
  const named = byId ? [byId] : []
  const unnamed = routeId === undefined ? foundBySecret(index, provider, livemode) : []
  if (named.length + unnamed.length === 0)
    return [refused(undefined, routeId === undefined ? 'unknown_account' : 'unknown_route')]
  const ofNamed = await verifier.verify(named)
  const more = await verifier.verifyWithinBudget(unnamed)
  if (!more) return [refused(undefined, 'too_many_checks')]
  const verdicts = [...ofNamed, ...more]
  attempt.tellAbsent(verdicts)
  const readings = verdicts.filter(isVerified).map((verdict) => {
    const read = (): readonly Match[] =>
      provider.events(parsed, signed, verdict.route.settings).map((event) => settle(attempt, verdict, event))
    const { route, workspace } = verdict
    return { route, workspace, read, ...attempted(read) }
  })
  const [first] = readings
  if (!first) return [noneOf(undefined, ofNamed, more)]
  const claims = new Set(readings.map(({ route }) => route.account))
  const possible = readings.filter(({ matches, route }) =>
    (matches ?? []).every(
      ({ event }) =>
        event === undefined ||
        (fitsAccount(attempt, route, event) &&
          (routeId !== undefined ||
            route.account !== null ||
            !event.accounts.some((name) => claims.has(name)))),
    ),
  )
  const events = (readings.find(({ matches }) => matches)?.matches ?? first.read()).map(({ event }) => event)
  const nobodys = (cause: RefusalCause) =>
    events.map((event) => refused(event, cause, undefined, cause !== 'too_many_checks'))
  const [one, ...others] = possible
  if (!one) {
    // Of one route alone it is said what is wrong with it.
    const several = readings.length > 1 && readings.some(({ workspace }) => workspace !== undefined)
    return several ? nobodys('account_mismatch') : first.read()
  }
  const cause = others.length > 0 ? 'ambiguous' : await doubtOf(attempt, one)
  return cause ? nobodys(cause) : one.read()
}

/** Nothing when the settings of the route make no event of it. */
function attempted(read: () => readonly Match[]): { readonly matches?: readonly Match[] } {
  try {
    return { matches: read() }
  } catch (error) {
    if (!(error instanceof Problem)) throw error
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

/** Whether the route may take events of these accounts, when no claim of one of them verifies. */
const fitsAccount = (
  { request: { provider } }: Attempt,
  { account }: WebhookRoute,
  { accounts }: ProviderEvent,
): boolean =>
  account === null ? accounts.length === 0 || provider.accounts === 'any' : accounts.includes(account)

/**
 * A signature that fits but is too old tells whose event it was; of several that do not fit none does. The store of a
 * secret being away counts where the request says whose it is: anybody can have a route that merely may be meant.
 */
function noneOf(
  event: ProviderEvent | undefined,
  named: readonly RouteVerdict[],
  unnamed: readonly RouteVerdict[],
): Match {
  const failed = [...named, ...unnamed].flatMap((verdict) =>
    verdict.verified ? [] : [{ cause: verdict.cause, route: verdict.route }],
  )
  const unsure = failed.slice(0, named.length).find(({ cause }) => cause === 'secret_away')
  if (unsure) return refused(event, 'secret_away', unsure.route)
  const causes = failed.map(({ cause, route }) => ({
    cause: cause === 'secret_away' ? ('signature_mismatch' as const) : cause,
    route,
  }))
  const near = causes.find(({ cause }) => cause === 'timestamp_outside_tolerance')
  const addressed = named.length === 1 ? causes[0] : undefined
  const one = near ?? addressed ?? (causes.length === 1 ? causes[0] : undefined)
  const [common, ...others] = new Set(causes.map(({ cause }) => cause))
  const cause = one?.cause ?? (others.length === 0 ? common : undefined) ?? 'signature_mismatch'
  return refused(event, cause, one?.route)
}
