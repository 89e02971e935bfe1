/**
 * Judges a run from its recorded history alone. It shares no code with the queue: what it knows about leases, caps
 * and places it knows from the design, not from the statements that it judges.
 */
import { type CapFigures, checkCaps } from './check/caps.ts'
import { checkEffects, type EffectFigures } from './check/effects.ts'
import { openLedger } from './check/ledger.ts'
import { checkPlaces } from './check/places.ts'
import { checkSends, type SendFigures } from './check/sends.ts'
import { measureLostClaims, measureTakeovers, type Spread, type TakeoverFigures } from './check/takeovers.ts'
import { checkEvents } from './check/timelines.ts'
import type { Disturbance, History, JobRow } from './history.ts'

/** Everything that must not happen, each with what it means. */
export const FAULTS = {
  lost: 'acknowledged, but neither ended nor visible',
  stuck: 'unfinished after the drain',
  over_cap: 'more at once than a cap allows',
  key_changed: 'another idempotency key on a later attempt',
  doubled: 'one request became two jobs',
  torn: 'a batch that is stored in part',
  unasked: 'refused, and stored all the same',
  misplaced: 'not in exactly one of ready, run and deferred',
  buried: 'a dead letter that had no reason to be one',
  late: 'an attempt that started after its job had expired',
  stranger: 'a lease ended by somebody who did not hold it',
  unexplained: 'an effect was repeated without a cause',
  unaccounted: 'a request that belongs to no attempt',
  event_missing: 'the timeline of a finished job is not complete',
  callback_missing: 'a finished job told of its end not once',
  crashed: 'a process ended by itself',
} as const
export type Fault = keyof typeof FAULTS

export interface Verdict {
  /** No fault of any kind. */
  readonly sound: boolean
  readonly seed: number
  readonly seconds: number
  readonly sends: SendFigures
  readonly states: Readonly<Record<JobRow['state'], number>>
  readonly effects: EffectFigures
  readonly caps: readonly CapFigures[]
  readonly staleRefused: number
  readonly takeover: TakeoverFigures
  readonly lostClaims: Spread
  readonly hurried: boolean
  readonly troubles: Readonly<Partial<Record<Disturbance, number>>>
  /** Sentences; empty = it did not happen. */
  readonly faults: Readonly<Record<Fault, readonly string[]>>
}

export function check(history: History): Verdict {
  const ledger = openLedger(history)
  const sends = checkSends(ledger)
  const places = checkPlaces(ledger)
  const effects = checkEffects(ledger)
  const caps = checkCaps(ledger)
  const troubles: Partial<Record<Disturbance, number>> = {}
  for (const { kind } of history.troubles) troubles[kind] = (troubles[kind] ?? 0) + 1
  const faults: Record<Fault, readonly string[]> = {
    lost: sends.lost,
    stuck: places.stuck,
    over_cap: caps.over,
    key_changed: effects.keyChanged,
    doubled: sends.doubled,
    torn: sends.torn,
    unasked: sends.unasked,
    misplaced: places.misplaced,
    buried: places.buried,
    late: effects.late,
    stranger: effects.strangers,
    unexplained: effects.unexplained,
    unaccounted: effects.unaccounted,
    event_missing: checkEvents(ledger),
    callback_missing: places.callbacks,
    crashed: history.troubles
      .filter(({ kind }) => kind === 'crash')
      .map(({ target, from }) => `${target} at ${new Date(from).toISOString()}`),
  }
  return {
    sound: Object.values(faults).every((sentences) => sentences.length === 0),
    seed: history.seed,
    seconds: history.seconds,
    sends: sends.figures,
    states: places.states,
    effects: effects.figures,
    caps: caps.figures,
    staleRefused: history.staleRefused,
    takeover: measureTakeovers(ledger),
    lostClaims: measureLostClaims(ledger),
    hurried: history.hurried,
    troubles,
    faults,
  }
}
