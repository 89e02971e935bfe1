import type { Clock } from '../../../platform/clock.ts'
import type { RouteIndex, WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import type { AnyProvider } from '../provider.ts'
import { createCheckBudget, workOf } from './check-budget.ts'
import { LARGE_BODY_BYTES, nominalChecks, type RouteVerdict, type RouteVerifier } from './verify-route.ts'

/** As many routes of a provider are asked whether a refused request is from it at all. */
const MOST_ROUTES = 50
/** And for so many requests and bytes of a provider in a second, so that a flood of them costs little. */
const REQUESTS_PER_SECOND = 20
const BYTES_PER_SECOND = 16 * 1_048_576

/** Whether a request that no route may have is from the provider. */
export type Origin = 'provider' | 'unknown'

export interface AskOthers {
  readonly provider: AnyProvider
  readonly index: RouteIndex
  readonly verifier: RouteVerifier
  readonly livemode: boolean
  /** How many accounts the request names. */
  readonly named: number
  /** Length of its body. */
  readonly bytes: number
}

/**
 * Asks the other routes of a provider, newest first, whether one of their secrets verifies the request. As many checks
 * are made whether the accounts that the request names are known or not: the time of a refusal does not tell.
 */
export function createOriginCheck(clock: Pick<Clock, 'now'>): (asked: AskOthers) => Promise<Origin> {
  const used = new Map<string, { readonly second: number; requests: number }>()
  const budget = createCheckBudget(clock, BYTES_PER_SECOND)
  const mayAsk = (provider: string): boolean => {
    const second = Math.floor(clock.now() / 1000)
    const held = used.get(provider)
    const now = held?.second === second ? held : { second, requests: 0 }
    used.set(provider, now)
    now.requests += 1
    return now.requests <= REQUESTS_PER_SECOND
  }
  const most = createMostChecks()

  return async ({ provider, index, verifier, livemode, named, bytes }) => {
    const before = await verifier.verdicts()
    if (originOf(before) === 'provider') return 'provider'
    const asked = new Set(before.map(({ route }) => route.id))
    const all = index.ofProvider(provider.name).filter((route) => route.livemode === livemode)
    const others = all.slice(0, MOST_ROUTES).filter(({ id }) => !asked.has(id))
    const may =
      bytes <= LARGE_BODY_BYTES &&
      mayAsk(provider.name) &&
      budget.take(provider.name, workOf(nominalChecks(others), bytes))
    const verdicts = await verifier.recognize(may ? others : [])

    const claims = most.of(index, provider.name, all, before) * named
    // Asked whoever is named.
    const newest = new Set(may ? all.slice(0, MOST_ROUTES).map(({ id }) => id) : [])
    const anyway = [...before, ...verdicts].filter(
      ({ route }) => route.account === null || newest.has(route.id),
    )
    const known = may && all.length <= MOST_ROUTES ? 0 : claims
    const missing = Math.max(1, checksOf(anyway) + known) - checksOf([...before, ...verdicts])
    await verifier.pretend(pretended(missing, before.length + verdicts.length, workOf(missing, bytes)))
    return originOf(verdicts)
  }

  /** What is not made under a flood of large bodies: all but what an account with one secret costs. */
  function pretended(missing: number, done: number, work: number): number {
    return budget.takeUnlessSmall('pretended', work) ? missing : Math.min(missing, done === 0 ? 1 : 0)
  }
}

const checksOf = (verdicts: readonly RouteVerdict[]): number =>
  verdicts.reduce((sum, { checks }) => sum + checks, 0)

/** The most checks that any one route of a provider takes: by its secrets, or by as many values as they were seen to have. */
function createMostChecks() {
  const seen = new WeakMap<RouteIndex, Map<string, number>>()
  return {
    of: (
      index: RouteIndex,
      provider: string,
      all: readonly WebhookRoute[],
      verdicts: readonly RouteVerdict[],
    ): number => {
      const ofIndex = seen.get(index) ?? new Map<string, number>()
      seen.set(index, ofIndex)
      const by = ofIndex.get(provider) ?? Math.max(1, ...all.map((route) => nominalChecks([route])))
      const now = Math.max(by, ...verdicts.map(({ checks }) => checks))
      ofIndex.set(provider, now)
      return now
    },
  }
}

function originOf(verdicts: readonly RouteVerdict[]): Origin {
  // Another hub on the same database has the other environment: what is its own is nobody's here.
  return verdicts.some(({ verified, workspace }) => verified && workspace !== undefined)
    ? 'provider'
    : 'unknown'
}
