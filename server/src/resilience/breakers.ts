import type { Clock, Random } from '../platform/clock.ts'
import {
  type Breaker,
  type BreakerChange,
  type BreakerSettings,
  type BreakerState,
  createBreaker,
  probeLeaseMs,
} from './breaker.ts'
import type { Health } from './health-of.ts'
import { keyedStates } from './keyed-states.ts'
import type { SharedOpening, SharedStore } from './stores/store.ts'

export interface BreakerRule {
  /** A shadow breaker watches and refuses nothing; one that is off does not even watch. */
  readonly mode: 'enforce' | 'shadow' | 'off'
  readonly settings: BreakerSettings
}

/** What an operator wants, whatever the breaker or its policy says, for `forMs` from now. */
export interface Forced {
  readonly state: 'open' | 'closed'
  readonly forMs: number
  readonly why: string
}

/** `group` is the workspace, `key` the connector. */
export interface BreakerTransition extends BreakerChange {
  readonly group: string
  readonly key: string
  /** Epoch ms; set when `to` is `open`. */
  readonly openUntil?: number
  /** Only watched: nothing is refused. */
  readonly shadow: boolean
  /** Another node said so; it tells of the transition itself. */
  readonly heard: boolean
}

export interface BreakerReport {
  readonly key: string
  readonly state: BreakerState
  /** 0 unless it is open. */
  readonly openForMs: number
  readonly why: string
  readonly forced?: Forced
}

/** What a call gets at the door. Whoever passed must call `end` once. */
export type Entrance =
  | { readonly refused: true; readonly retryAfterMs: number; readonly why: string }
  | { readonly refused: false; end(health: Health, durationMs: number): void }

/** The breakers of one process. */
export interface Breakers {
  /**
   * Decides about one call, at once and without a question to anybody; only a probe may have to ask the other
   * nodes whether it may go. `onWouldHave('breaker')` is told when a shadow breaker would have refused.
   */
  enter(
    group: string,
    key: string,
    rule: BreakerRule,
    onWouldHave?: (rule: string) => void,
  ): Entrance | Promise<Entrance>
  /** Openings from before this process began, with the time that is left of them. No transition is told. */
  restore(openings: readonly SharedOpening[]): void
  /** Forces a breaker, or (undefined) lets it decide for itself again. One forced closed begins anew after it. */
  setForced(group: string, key: string, forced: Forced | undefined): void
  /** The breakers of a workspace that this process knows. */
  snapshot(group: string): readonly BreakerReport[]
  readonly size: number
  /** Stops listening to other nodes. */
  close(): void
}

interface Entry {
  readonly breaker: Breaker
  usedAt: number
  /** The mode of the call in hand. */
  shadow: boolean
  /** It opened while it was only watched. */
  openedInShadow: boolean
  /** What is told to it comes from elsewhere. */
  source: 'calls' | 'heard' | 'restored'
  forced: (Forced & { readonly until: number }) | undefined
  /** Another node probes; it is not asked again before this time. */
  elsewhereUntil: number
}

const MAX_BREAKERS = 20_000
/** A closed breaker that nobody has asked for so long begins anew. */
const FORGET_AFTER_MS = 10 * 60_000
const ASK_FOR_PROBE_EVERY_MS = 250
const UNWATCHED: Entrance = { refused: false, end: () => undefined }

/**
 * Circuit breakers by workspace and connector. Each node decides by what it sees; openings are shared, and one
 * node at a time probes. With the store gone every node goes on alone.
 */
export function createBreakers(deps: {
  readonly clock: Clock
  readonly random: Random
  readonly store: SharedStore
  /** Told of every change of state. Must not throw. */
  readonly onTransition: (transition: BreakerTransition) => void
  readonly atMost?: number
}): Breakers {
  const { clock, random, store, onTransition } = deps

  const create = (group: string, key: string): Entry => {
    const onChange = (change: BreakerChange) => {
      const { source, shadow } = entry
      if (change.to === 'open') entry.openedInShadow = shadow && source === 'calls'
      if (change.to === 'closed') entry.openedInShadow = false
      if (source === 'calls' && !shadow) {
        if (change.openMs !== undefined)
          store.shareOpening({ group, key, forMs: change.openMs, why: change.why })
        else if (change.to === 'closed') store.endOpening(group, key)
      }
      if (source === 'restored') return
      const openUntil = change.openMs === undefined ? {} : { openUntil: clock.now() + change.openMs }
      onTransition({ group, key, ...change, ...openUntil, shadow, heard: source === 'heard' })
    }
    const entry: Entry = {
      breaker: createBreaker({ clock, random, onChange }),
      usedAt: clock.monotonic(),
      shadow: false,
      openedInShadow: false,
      source: 'calls',
      forced: undefined,
      elsewhereUntil: 0,
    }
    // Behind the call: what was shared before this node met the connector must not make it wait.
    store.opening(group, key).then((opening) => opening && tell(entry, opening, 'heard'), ignore)
    return entry
  }

  const entries = keyedStates<Entry>({
    create,
    idle: ({ breaker, forced, usedAt }) =>
      breaker.idle && forced === undefined && clock.monotonic() - usedAt > FORGET_AFTER_MS,
    atMost: deps.atMost ?? MAX_BREAKERS,
    // Forgotten, an upstream that is down would get calls, and an operator would not be obeyed.
    mustKeep: ({ breaker, forced }) => !breaker.idle || forced !== undefined,
  })

  const tell = (entry: Entry, { forMs, why }: SharedOpening, source: 'heard' | 'restored') => {
    entry.source = source
    entry.breaker.openFor(forMs, why)
    entry.source = 'calls'
  }

  // One that is not known here needs nothing: at the first meeting the store is asked.
  const stopListening = store.onOpening((opening) => {
    const entry = entries.find(opening.group, opening.key)
    if (entry === undefined) return
    if (opening.forMs > 0) tell(entry, opening, 'heard')
    else if (!entry.breaker.idle && !entry.openedInShadow) hearClosing(entry)
  })

  /** Whoever closed it has seen enough healthy probes for all. */
  const hearClosing = (entry: Entry) => {
    entry.source = 'heard'
    entry.breaker.close('another node closed it')
    entry.source = 'calls'
  }

  const forcedOf = (entry: Entry | undefined): Entry['forced'] => {
    if (entry?.forced && clock.monotonic() >= entry.forced.until) entry.forced = undefined
    return entry?.forced
  }

  const probe = (
    entry: Entry,
    { group, key, ticket }: { readonly group: string; readonly key: string; readonly ticket: number },
    settings: BreakerSettings,
  ): Entrance | Promise<Entrance> => {
    const decide = (granted: boolean): Entrance => {
      if (granted)
        return {
          refused: false,
          end: (health, durationMs) => {
            store.endProbe(group, key)
            settle(entry, false, ticket, health, durationMs, settings)
          },
        }
      entry.breaker.giveBack(ticket)
      entry.elsewhereUntil = clock.monotonic() + ASK_FOR_PROBE_EVERY_MS
      return elsewhere(ASK_FOR_PROBE_EVERY_MS)
    }
    const granted = store.takeProbe(group, key, probeLeaseMs(settings))
    return granted instanceof Promise ? granted.then(decide) : decide(granted)
  }

  const watch = (
    entry: Entry,
    group: string,
    key: string,
    rule: BreakerRule,
    onWouldHave: ((rule: string) => void) | undefined,
  ): Entrance | Promise<Entrance> => {
    const { settings } = rule
    const { breaker } = entry
    const shadow = rule.mode === 'shadow'
    entry.shadow = shadow
    if (!shadow && entry.openedInShadow) breaker.close('the policy enforces it from now on')
    if (!shadow && breaker.state === 'half_open') {
      const waitMs = entry.elsewhereUntil - clock.monotonic()
      if (waitMs > 0) return elsewhere(waitMs)
    }
    const answer = breaker.ask(settings)
    if (!answer.pass) {
      if (!shadow) return { refused: true, retryAfterMs: answer.retryAfterMs, why: answer.why }
      onWouldHave?.('breaker')
      return UNWATCHED
    }
    const { ticket } = answer
    if (answer.probe && !shadow) return probe(entry, { group, key, ticket }, settings)
    return {
      refused: false,
      end: (health, durationMs) => settle(entry, shadow, ticket, health, durationMs, settings),
    }
  }

  return {
    enter: (group, key, rule, onWouldHave) => {
      if (rule.mode !== 'off') entries.tidy()
      const entry = rule.mode === 'off' ? entries.find(group, key) : entries.of(group, key)
      const forced = forcedOf(entry)
      if (forced)
        return forced.state === 'closed'
          ? UNWATCHED
          : { refused: true, retryAfterMs: forced.until - clock.monotonic(), why: forced.why }
      if (entry === undefined || rule.mode === 'off') return UNWATCHED
      entry.usedAt = clock.monotonic()
      return watch(entry, group, key, rule, onWouldHave)
    },
    restore: (openings) => {
      for (const opening of openings) tell(entries.of(opening.group, opening.key), opening, 'restored')
    },
    setForced: (group, key, forced) => {
      const entry = forced ? entries.of(group, key) : entries.find(group, key)
      if (entry === undefined) return
      entry.forced = forced && { ...forced, until: clock.monotonic() + forced.forMs }
      if (forced?.state === 'closed') entry.breaker.close(forced.why)
    },
    snapshot: (group) =>
      [...entries.inGroup(group)].map(([key, entry]) => {
        const { breaker } = entry
        const forced = forcedOf(entry)
        const report = { key, state: breaker.state, openForMs: breaker.openForMs(), why: breaker.why }
        if (forced === undefined) return report
        const forMs = forced.until - clock.monotonic()
        return { ...report, forced: { state: forced.state, forMs, why: forced.why } }
      }),
    get size() {
      return entries.size
    },
    close: stopListening,
  }
}

function settle(
  entry: Entry,
  shadow: boolean,
  ticket: number,
  health: Health,
  durationMs: number,
  settings: BreakerSettings,
): void {
  entry.shadow = shadow
  entry.breaker.settle(ticket, health, durationMs, settings)
}

const elsewhere = (retryAfterMs: number): Entrance => ({
  refused: true,
  retryAfterMs,
  why: 'another node probes',
})

/** A store that cannot say is one that knows of nothing. */
const ignore = () => undefined
