import type { Clock } from '../../../platform/clock.ts'
import type { RouteDirectory, RouteIndex } from '../../webhook-routes/webhook-routes.ts'
import type { WebhookReply } from '../provider.ts'
import { createTellAbsent } from './absent-secrets.ts'
import { createCheckBudget } from './check-budget.ts'
import {
  type Attempt,
  type IncomingRequest,
  type Match,
  matchEvents,
  type RefusalCause,
  type VerifiedBy,
} from './match-route.ts'
import { createOriginCheck, type Origin } from './other-routes.ts'
import { createRouteVerifier, type VerifyDeps } from './verify-route.ts'

export interface MatchDeps extends VerifyDeps {
  readonly clock: Pick<Clock, 'now'>
  readonly routes: Pick<RouteDirectory, 'current' | 'refresh'>
  /** Of the workspaces of this hub (DESIGN D5): what holds for providers that say nothing of it. */
  readonly livemode: boolean
}

/**
 * Whose each event of a request is, in their order. Also for a request that came earlier: what counts is
 * `signed.nowMs`. Errors: `validation_error` for what is no event of the provider, `database_unavailable`.
 */
export type MatchWebhook = (request: IncomingRequest) => Promise<readonly Match[]>

/** The answer to a question whether we are there; `unsure`: a secret of the route in the path cannot be read. Errors: `database_unavailable`. */
export type AnswerHandshake = (
  request: IncomingRequest,
  reply: WebhookReply,
) => Promise<WebhookReply | 'unknown' | 'unsure'>

/** Hashed per second and provider to try the secrets of routes that a large body may be for: some 150 ms of work. */
const BYTES_PER_SECOND = 64 * 1_048_576

/** A refusal counts only after a look at the database: the route may be newer than the memory. */
export function createWebhookMatcher(deps: MatchDeps): {
  readonly match: MatchWebhook
  readonly handshake: AnswerHandshake
} {
  const originOf = createOriginCheck(deps.clock)
  const tellAbsent = createTellAbsent(deps.log, deps.clock)
  const verifying = { ...deps, budget: createCheckBudget(deps.clock, BYTES_PER_SECOND) }
  const attemptWith = (request: IncomingRequest, index: RouteIndex): Attempt => ({
    ...{ request, index, livemode: deps.livemode, tellAbsent },
    verifier: createRouteVerifier(verifying, request),
  })
  const origin = ({ request, index, verifier }: Attempt, named: number): Promise<Origin> => {
    const { provider, signed } = request
    const bytes = signed.raw.length
    return originOf({ provider, index, verifier, livemode: deps.livemode, named, bytes })
  }

  const match: MatchWebhook = async (request) => {
    const known = await deps.routes.current()
    let attempt = attemptWith(request, known)
    let matches = await matchEvents(attempt)
    if (matches.every(({ found }) => found)) return matches
    const newest = await deps.routes.refresh()
    if (newest !== known) {
      attempt = attemptWith(request, newest)
      matches = await matchEvents(attempt)
      if (matches.every(({ found }) => found)) return matches
    }
    const named = matches.map(({ event }) => event?.accounts.length ?? 0)
    const from = await origin(attempt, Math.max(...named))
    const verifiedBy = await verifiersOf(attempt)
    return matches.map((each) => {
      if (each.found) return each
      const told = withOrigin(request, each, from)
      return told.found || !told.authentic ? told : { ...told, verifiedBy }
    })
  }

  const handshake: AnswerHandshake = async (request, reply) => {
    const ask = async (index: RouteIndex): Promise<Origin | 'unsure'> => {
      const attempt = attemptWith(request, index)
      if (request.routeId === undefined) return origin(attempt, 0)
      const route = index.byId(request.provider.name, request.routeId)
      const [verdict] = await attempt.verifier.verify(route ? [route] : [])
      if (verdict?.verified) return 'provider'
      return verdict?.cause === 'secret_away' ? 'unsure' : 'unknown'
    }
    const known = await deps.routes.current()
    let from = await ask(known)
    if (from !== 'provider') {
      const newest = await deps.routes.refresh()
      if (newest !== known) from = await ask(newest)
    }
    return from === 'provider' ? reply : from
  }

  return { match, handshake }
}

/** By their ids, so that it is the same one of several who answers for it each time. */
const verifiersOf = async ({ verifier }: Attempt): Promise<readonly VerifiedBy[]> =>
  (await verifier.verdicts())
    .filter(({ verified }) => verified)
    .map(({ route: { tenantId, id } }) => ({ tenantId, routeId: id }))
    .sort((one, other) => (one.routeId < other.routeId ? -1 : 1))

/** What the secrets of other routes say of a refusal: whether it is from the provider, and only not for whom it says. */
function withOrigin(
  { routeId }: IncomingRequest,
  refusal: Extract<Match, { found: false }>,
  from: Origin,
): Match {
  if (refusal.authentic || CANNOT_SAY.has(refusal.cause) || from === 'unknown') return refusal
  const { route: _, ...nobodys } = { ...refusal, authentic: true }
  // Whoever names a route must know its secret; its workspace may not see what is another one's.
  if (routeId !== undefined)
    return COULD_BE_ANOTHERS.has(refusal.cause)
      ? { ...nobodys, cause: 'unknown_route' }
      : { ...refusal, authentic: true }
  return {
    ...refusal,
    authentic: true,
    cause: NOT_ITS_ROUTES.has(refusal.cause) ? refusal.cause : 'account_mismatch',
  }
}

const NOT_ITS_ROUTES: ReadonlySet<RefusalCause> = new Set([
  'unknown_account',
  'livemode_mismatch',
  'environment_mismatch',
])
const COULD_BE_ANOTHERS: ReadonlySet<RefusalCause> = new Set([
  'signature_mismatch',
  'no_usable_secret',
  'livemode_mismatch',
])
/** The sender must come again, whoever else's it is. */
export const CANNOT_SAY: ReadonlySet<RefusalCause> = new Set(['secret_away', 'too_many_checks'])
