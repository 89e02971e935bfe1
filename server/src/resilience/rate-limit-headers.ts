import { reserveOf } from './gcra.ts'
import type { RateRule } from './rate-limit.ts'
import type { ChargeState, RateLimit } from './stores/store.ts'

/** The fields by which a client can keep its own pace. */
export interface RateLimitHeaders {
  /** `"connector";r=3;t=1, "workspace";r=80;t=1`: what is left at this moment, the tightest limit first. */
  readonly rateLimit: string
  /** `"connector";q=20;w=2, "workspace";q=200;w=2`: what is allowed, the same for every call. */
  readonly rateLimitPolicy: string
}

/**
 * The values of `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11, §3–4: lists of
 * structured strings with whole-second parameters). Undefined when no limit is enforced: a shadow limit must not
 * slow a client down. `states[i]` belongs to `rules[i]`.
 *
 * The draft thinks in windows and GCRA has none, so the shortest whole-second window that holds the burst is named
 * (`w`), with what the rate gives in it (`q`): a client that spreads q calls over w is not refused. `t` is the time
 * until `r` grows again, or until the refused call has room, so that Retry-After does not end before it.
 */
export function rateLimitHeaders(
  rules: readonly RateRule[],
  states: readonly ChargeState[],
): RateLimitHeaders | undefined {
  // In loops and one array, because every answer carries them: a third of the time of the plain way.
  const enforced: Told[] = []
  for (let index = 0; index < rules.length; index += 1) {
    const rule = rules[index]
    const state = states[index]
    if (rule?.enforced && state !== undefined) enforced.push({ name: quoted(rule.name), rule, state })
  }
  if (enforced.length === 0) return undefined
  enforced.sort((a, b) => perMs(a.rule.limit) - perMs(b.rule.limit))
  let rateLimitPolicy = ''
  for (const { name, rule } of enforced) {
    const windowS = windowOf(rule.limit)
    rateLimitPolicy += `${rateLimitPolicy && ', '}${name};q=${quotaOf(rule.limit, windowS)};w=${windowS}`
  }
  enforced.sort((a, b) => tighterNow(a.state, b.state))
  let rateLimit = ''
  for (const { name, rule, state } of enforced)
    rateLimit += `${rateLimit && ', '}${name};r=${state.remaining};t=${growsInS(rule, state)}`
  return { rateLimit, rateLimitPolicy }
}

interface Told {
  readonly name: string
  readonly rule: RateRule
  readonly state: ChargeState
}

/** Refused ones first, the longest wait before the others; then the one with the fewest permits left. */
const tighterNow = (a: ChargeState, b: ChargeState): number =>
  a.allowed && b.allowed ? a.remaining - b.remaining : waitOf(b) - waitOf(a)

/** A wait that never ends sorts like a very long one; Infinity minus Infinity would be no number. */
const waitOf = (state: ChargeState): number => Math.min(state.retryAfterMs, Number.MAX_SAFE_INTEGER)

const perMs = ({ permits, periodMs }: RateLimit): number => permits / periodMs

const windowOf = ({ permits, periodMs, burst }: RateLimit): number =>
  Math.max(1, Math.ceil((burst * periodMs) / (permits * 1_000)))

const quotaOf = ({ permits, periodMs }: RateLimit, windowS: number): number =>
  Math.floor((windowS * 1_000 * permits) / periodMs)

function growsInS(rule: RateRule, state: ChargeState): number {
  const { limit } = rule
  const { remaining, resetMs, retryAfterMs, allowed } = state
  if (!allowed && retryAfterMs !== Number.POSITIVE_INFINITY) return Math.ceil(retryAfterMs / 1_000)
  // All but one of the missing permits come back after the next one.
  const laterMs = ((limit.burst - reserveOf(rule) - remaining - 1) * limit.periodMs) / limit.permits
  return Math.max(0, Math.ceil((resetMs - Math.max(0, laterMs)) / 1_000))
}

/** A structured string (RFC 9651 §4.1.6). */
const quoted = (name: string): string =>
  SPECIAL.test(name) ? `"${name.replaceAll(/["\\]/g, '\\$&')}"` : `"${name}"`

const SPECIAL = /["\\]/
