import type { Clock } from '../../platform/clock.ts'
import type { RouteIndex } from '../webhook-routes/webhook-routes.ts'
import type { AnyProvider } from './provider.ts'
import type { RouteVerdict, RouteVerifier } from './verify-route.ts'

/** As many routes of a provider are asked whether a refused request is from it at all. */
const MOST_ROUTES = 50
/** And for so many requests of a provider in a second, so that a flood of them costs little. */
const REQUESTS_PER_SECOND = 20

/** Whether a request that no route may have is from the provider: `unsure` while the store of a secret is away. */
export type Origin = 'provider' | 'unsure' | 'unknown'

export interface AskOthers {
  readonly provider: AnyProvider
  readonly index: RouteIndex
  readonly verifier: RouteVerifier
  readonly livemode: boolean
  /** As many checks are made in any case. */
  readonly atLeast: number
}

/**
 * Asks the other routes of a provider, newest first, whether one of their secrets verifies the request. As many checks
 * are made whether the account that the request names is known or not: the time of a refusal does not tell.
 */
export function createOriginCheck(clock: Pick<Clock, 'now'>): (asked: AskOthers) => Promise<Origin> {
  const used = new Map<string, { readonly second: number; requests: number }>()
  const mayAsk = (provider: string): boolean => {
    const second = Math.floor(clock.now() / 1000)
    const held = used.get(provider)
    const now = held?.second === second ? held : { second, requests: 0 }
    used.set(provider, now)
    now.requests += 1
    return now.requests <= REQUESTS_PER_SECOND
  }

  return async ({ provider, index, verifier, livemode, atLeast }) => {
    const before = await verifier.verdicts()
    if (originOf(before) === 'provider') return 'provider'
    const asked = new Set(before.map(({ route }) => route.id))
    const all = index.ofProvider(provider.name).filter((route) => route.livemode === livemode)
    const allowed = mayAsk(provider.name) ? Math.min(all.length, MOST_ROUTES) : 0
    const unasked = all.filter(({ id }) => !asked.has(id))
    const others = unasked.slice(0, Math.max(0, allowed - (all.length - unasked.length)))
    const verdicts = await verifier.verify(others)
    for (let checks = before.length + others.length; checks < Math.max(allowed, atLeast); checks += 1)
      await verifier.pretend()
    return originOf(verdicts)
  }
}

function originOf(verdicts: readonly RouteVerdict[]): Origin {
  // Another hub on the same database has the other environment: what is its own is nobody's here.
  const own = verdicts.filter(({ workspace }) => workspace !== undefined)
  if (own.some(({ verified }) => verified)) return 'provider'
  return own.some((verdict) => !verdict.verified && verdict.cause === 'secret_away') ? 'unsure' : 'unknown'
}
