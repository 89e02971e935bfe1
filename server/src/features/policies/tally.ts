import type { RateLimitScope } from './policy.ts'

const KINDS = [
  'limited',
  'refused_by_breaker',
  'retried',
  'given_up_earlier',
  'repeated_further',
  'timed_out',
  'not_known',
] as const
export type CountedKind = (typeof KINDS)[number]

const SHADOWED = ['limited', 'refused_by_breaker', 'given_up_earlier'] as const
export type ShadowedKind = (typeof SHADOWED)[number]

export interface Opening {
  readonly connector: string
  /** ISO 8601. */
  readonly at: string
  readonly until: string
  readonly why: string
  /** It would only have watched. */
  readonly shadow: boolean
}

type ByLimit = Partial<Record<RateLimitScope, number>>

/** What came of calls under a policy, in wire names. */
export interface Simulated {
  /** Calls that went in. */
  readonly calls: number
  readonly limited: number
  readonly by_limit: ByLimit
  readonly refused_by_breaker: number
  readonly openings: Opening[]
  /** All of them; `openings` has the first. */
  readonly openings_total: number
  readonly retried: number
  readonly given_up_earlier: number
  readonly repeated_further: number
  readonly timed_out: number
  readonly not_known: number
  /** What rules in shadow mode would have done besides. */
  readonly shadow: Readonly<Record<ShadowedKind, number>> & { readonly by_limit: ByLimit }
  /** The first request ids of each kind. */
  readonly examples: Readonly<Record<CountedKind, string[]>>
}

const MAX_EXAMPLES = 20
const MAX_OPENINGS = 100

export interface Tally {
  arrived(): void
  /** `shadow`: a rule that only looks. Each call counts once per kind. */
  count(kind: CountedKind, requestId: string): void
  shadow(kind: ShadowedKind, requestId: string): void
  byLimit(scope: RateLimitScope, enforced: boolean): void
  opened(opening: { connector: string; at: number; forMs: number; why: string; shadow: boolean }): void
  result(): Simulated
}

/** Counts what a simulation finds. */
export function tally(): Tally {
  let calls = 0
  let openingsTotal = 0
  const seen = Object.fromEntries(KINDS.map((kind) => [kind, new Set<string>()])) as Record<
    CountedKind,
    Set<string>
  >
  const shadowed = Object.fromEntries(SHADOWED.map((kind) => [kind, new Set<string>()])) as Record<
    ShadowedKind,
    Set<string>
  >
  const enforced: ByLimit = {}
  const watched: ByLimit = {}
  const openings: Opening[] = []
  return {
    arrived: () => {
      calls += 1
    },
    count: (kind, requestId) => void seen[kind].add(requestId),
    shadow: (kind, requestId) => void shadowed[kind].add(requestId),
    byLimit: (scope, isEnforced) => {
      const counts = isEnforced ? enforced : watched
      counts[scope] = (counts[scope] ?? 0) + 1
    },
    opened: ({ connector, at, forMs, why, shadow }) => {
      openingsTotal += 1
      if (openings.length === MAX_OPENINGS) return
      const [from, until] = [at, at + forMs].map((time) => new Date(time).toISOString()) as [string, string]
      openings.push({ connector, at: from, until, why, shadow })
    },
    result: () => {
      const numbers = Object.fromEntries(KINDS.map((kind) => [kind, seen[kind].size]))
      const shadows = Object.fromEntries(SHADOWED.map((kind) => [kind, shadowed[kind].size]))
      const examples = Object.fromEntries(KINDS.map((kind) => [kind, [...seen[kind]].slice(0, MAX_EXAMPLES)]))
      return {
        ...(numbers as Record<CountedKind, number>),
        calls,
        by_limit: enforced,
        openings,
        openings_total: openingsTotal,
        shadow: { ...(shadows as Record<ShadowedKind, number>), by_limit: watched },
        examples: examples as Record<CountedKind, string[]>,
      }
    },
  }
}
