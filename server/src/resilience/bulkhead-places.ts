import type { Clock } from '../platform/clock.ts'
import { CallFailure } from './failure.ts'
import { keyedStates } from './keyed-states.ts'
import type { CallScope } from './pipeline.ts'

type Mode = 'enforce' | 'shadow' | 'off'

export interface BulkheadSettings {
  /** Of `maxInFlight`. */
  readonly mode: Mode
  /** Calls of one connector that may be in flight in this process. */
  readonly maxInFlight: number
  /** Calls of one connector that may wait for a place. */
  readonly maxWaiting: number
  readonly waitMs: number
  /** Of `workspaceMaxInFlight`. */
  readonly workspaceMode: Mode
  /** Calls of all connectors of one workspace that may be in flight in this process. */
  readonly workspaceMaxInFlight: number
}

export interface Place {
  /** Must be called exactly once. */
  leave(): void
}

/** The places of one process. Workspaces share none: what one of them does keeps no other waiting. */
export interface Bulkheads {
  /** A place, at once or after a wait, or a rejection with the `CallFailure` that refuses the call. */
  enter(
    workspace: string,
    connector: string,
    settings: BulkheadSettings,
    scope: CallScope,
    onWouldHave?: (rule: string) => void,
  ): Place | Promise<Place>
  /** How many connectors and workspaces are kept: those with calls, and some that had calls a moment ago. */
  readonly size: number
}

/** A wait may use up so much of the time that is left: a call that is let in late must still be worth it. */
const SHARE_OF_TIME_LEFT = 0.25
/**
 * A queue that has not been empty for so long is not a burst but too much work. Then the newest goes first: the
 * old ones will give up anyway, and served in order all of them would be late (adaptive LIFO; Facebook, "Fail at
 * Scale", ACM Queue 2015, with CoDel's interval of 100 ms).
 */
const OVERLOADED_AFTER_MS = 100
/** Nobody knows when a call ends. One second is the shortest wait that a Retry-After header can say. */
const RETRY_AFTER_MS = 1_000

/** The places of one connector. */
interface Part {
  inFlight: number
  /** The oldest first. */
  readonly waiting: Waiter[]
  /** Since when somebody has waited without a break. */
  waitingSince: number
}

/** The places of one workspace. */
interface Whole {
  inFlight: number
  /** Connectors for which somebody waits, in the order of their turns. */
  readonly waiting: Set<Part>
}

interface Waiter {
  readonly settings: BulkheadSettings
  /** Its place is taken, though it may not have heard of it yet. */
  admitted: boolean
  wake(): void
}

/** Made once by a process. */
export function createBulkheads(options: { readonly clock: Clock }): Bulkheads {
  const { clock } = options
  const parts = keyedStates<Part>({
    create: () => ({ inFlight: 0, waiting: [], waitingSince: 0 }),
    idle: ({ inFlight, waiting }) => inFlight === 0 && waiting.length === 0,
  })
  const wholes = keyedStates<Whole>({
    create: () => ({ inFlight: 0, waiting: new Set() }),
    idle: ({ inFlight, waiting }) => inFlight === 0 && waiting.size === 0,
  })

  const placeIn = (whole: Whole, part: Part): Place => ({
    leave: () => {
      part.inFlight -= 1
      whole.inFlight -= 1
      if (whole.waiting.size > 0) admitWaiting(whole, clock.monotonic())
    },
  })

  return {
    enter: (workspace, connector, settings, scope, onWouldHave) => {
      parts.tidy()
      wholes.tidy()
      const part = parts.of(workspace, connector)
      const whole = wholes.of(workspace, '')
      if (settings.mode === 'shadow' && part.inFlight >= settings.maxInFlight)
        onWouldHave?.('bulkhead.max_in_flight')
      if (settings.workspaceMode === 'shadow' && whole.inFlight >= settings.workspaceMaxInFlight)
        onWouldHave?.('bulkhead.workspace_max_in_flight')
      const enforced = settings.mode === 'enforce' || settings.workspaceMode === 'enforce'
      // Nobody overtakes those who wait, though operations with larger settings may find room.
      if (enforced && (part.waiting.length > 0 || !fits(whole, part, settings))) {
        const leftMs = scope.deadlineAt - clock.monotonic()
        const waitMs = Math.min(settings.waitMs, leftMs * SHARE_OF_TIME_LEFT)
        if (waitMs < 1 || part.waiting.length >= settings.maxWaiting)
          return Promise.reject(refusal(whole, settings, 0))
        const admitted = waitForPlace(whole, part, settings, waitMs, scope.signal, clock)
        return admitted.then(() => placeIn(whole, part))
      }
      part.inFlight += 1
      whole.inFlight += 1
      return placeIn(whole, part)
    },
    get size() {
      return parts.size + wholes.size
    },
  }
}

const isWholeFull = (whole: Whole, settings: BulkheadSettings): boolean =>
  settings.workspaceMode === 'enforce' && whole.inFlight >= settings.workspaceMaxInFlight

const fits = (whole: Whole, part: Part, settings: BulkheadSettings): boolean =>
  (settings.mode !== 'enforce' || part.inFlight < settings.maxInFlight) && !isWholeFull(whole, settings)

/** Gives free places to those who wait, one connector after the other: a busy one does not starve a quiet one. */
function admitWaiting(whole: Whole, now: number): void {
  for (const part of [...whole.waiting]) {
    const overloaded = now - part.waitingSince > OVERLOADED_AFTER_MS
    const waiter = overloaded ? part.waiting.at(-1) : part.waiting[0]
    if (waiter === undefined || !fits(whole, part, waiter.settings)) continue
    dequeue(whole, part, waiter)
    if (whole.waiting.delete(part)) whole.waiting.add(part)
    // Taken here and not by who wakes: in between, others may come.
    part.inFlight += 1
    whole.inFlight += 1
    waiter.admitted = true
    waiter.wake()
  }
}

function dequeue(whole: Whole, part: Part, waiter: Waiter): void {
  part.waiting.splice(part.waiting.indexOf(waiter), 1)
  if (part.waiting.length === 0) whole.waiting.delete(part)
}

/** Resolves with the place taken; rejects when the wait is over or the call was given up. */
async function waitForPlace(
  whole: Whole,
  part: Part,
  settings: BulkheadSettings,
  waitMs: number,
  signal: AbortSignal,
  clock: Clock,
): Promise<void> {
  const woken = Promise.withResolvers<void>()
  const waiter: Waiter = { settings, admitted: false, wake: woken.resolve }
  if (part.waiting.length === 0) part.waitingSince = clock.monotonic()
  part.waiting.push(waiter)
  whole.waiting.add(part)
  const timer = new AbortController()
  const giveUp = () => woken.resolve()
  signal.addEventListener('abort', giveUp, { once: true })
  if (signal.aborted) giveUp()
  clock.sleep(waitMs, timer.signal).then(giveUp, () => undefined)
  await woken.promise
  timer.abort()
  signal.removeEventListener('abort', giveUp)
  if (waiter.admitted) return
  dequeue(whole, part, waiter)
  // It may have stood before somebody whose settings leave more room.
  admitWaiting(whole, clock.monotonic())
  throw signal.aborted
    ? new CallFailure({
        class: 'never_sent',
        kind: 'aborted',
        message: 'The call was given up while it waited for a place.',
        cause: signal.reason,
      })
    : refusal(whole, settings, waitMs)
}

function refusal(whole: Whole, settings: BulkheadSettings, waitedMs: number): CallFailure {
  const places = isWholeFull(whole, settings)
    ? `All ${settings.workspaceMaxInFlight} places for calls of the workspace are taken`
    : `All ${settings.maxInFlight} places for calls of the connector are taken`
  return new CallFailure({
    class: 'never_sent',
    kind: 'concurrency_limited',
    refusedBy: 'bulkhead',
    retryAfterMs: RETRY_AFTER_MS,
    message: waitedMs > 0 ? `${places}, and none became free in ${Math.round(waitedMs)} ms.` : `${places}.`,
  })
}
