import type { Clock, Random } from '../platform/clock.ts'
import type { Db } from '../platform/db/db.ts'
import type { Log } from '../platform/log.ts'
import { type Claimed, claimJobs, createDiscovery } from './claim.ts'
import type { LaneKey } from './job.ts'
import type { Lanes } from './lanes.ts'
import { createLatch } from './latch.ts'
import { backoffMs } from './loop.ts'
import type { Wanted } from './places.ts'

export interface Claimer {
  /** Lanes that may have work; `undefined` = look around. */
  hint(lanes: readonly LaneKey[] | undefined): void
  /** Places may have become free. */
  ring(): void
  /** A claim is on its way: leases may exist that nobody here knows of. */
  readonly busy: boolean
  /** Claims that failed so far: when only the answer was lost, leases exist that nobody here knows of. */
  readonly failed: number
  /** Resolves when no claim is on its way and none will start. */
  stop(): Promise<void>
}

export interface ClaimerOptions {
  readonly db: Db
  readonly lanes: Lanes
  readonly nodeId: string
  readonly maxRunMs: number
  readonly discoverMs: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** How many jobs to claim: see `Places`. */
  wanted(urgent: boolean): Wanted
  claimed(claimed: Claimed): void
  /** The node is not known as alive: beat before the next claim. */
  beat(): Promise<unknown>
}

const NOTHING_TO_DO_MS = 1_000
/** Another node was at all the tenants we asked for; its claim takes a millisecond or a few. */
const CONTENDED_MS = 3

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** One claim at a time, as long as there are free places and lanes with work. */
export function startClaimer(options: ClaimerOptions): Claimer {
  const { clock, random, lanes, log } = options
  const latch = createLatch(clock)
  const discover = createDiscovery(options.db)
  let discoverAt = 0
  const stopping = new AbortController()
  let busy = false
  let failed = 0

  let looking: Promise<void> | undefined
  /** Something may have been missed since the look began. */
  let lookAgain = false
  let blind = 0

  /** Beside the claims: with an old snapshot open it walks dead entries, and nobody should wait for that. */
  const lookAround = async (): Promise<void> => {
    const started = clock.monotonic()
    lookAgain = false
    try {
      lanes.found(await discover())
      blind = 0
      const tookMs = clock.monotonic() - started
      // A slow scan (many lanes, many dead entries) must not become the main work.
      discoverAt = clock.monotonic() + Math.max(options.discoverMs, 20 * tookMs) * (0.75 + random() / 2)
    } catch (err) {
      blind += 1
      discoverAt = clock.monotonic() + backoffMs(blind, random)
      log.warn({ err, failures: blind }, 'a look for lanes with work failed and will be tried again')
    }
    if (lookAgain) discoverAt = 0
    looking = undefined
    latch.ring()
  }

  /** Gives the milliseconds to wait; 0 = go on. */
  const round = async (): Promise<number> => {
    const wanted = options.wanted(lanes.fresh > 0)
    if (wanted.shared + wanted.reserved === 0) return NOTHING_TO_DO_MS
    if (clock.monotonic() >= discoverAt) looking ??= lookAround()
    const grants = lanes.plan(wanted)
    if (grants.length === 0) {
      const lookInMs = looking ? NOTHING_TO_DO_MS : discoverAt - clock.monotonic()
      return Math.min(lookInMs, lanes.nextDueMs() ?? Infinity)
    }
    const claim = await claimJobs(options.db, { nodeId: options.nodeId, grants, maxRunMs: options.maxRunMs })
    if (!claim.registered) {
      await options.beat()
      return 0
    }
    lanes.answered(grants, claim.answers)
    for (const claimed of claim.jobs) options.claimed(claimed)
    const contended = claim.jobs.length === 0 && claim.answers.some(({ verdict }) => verdict === 'contended')
    return contended ? CONTENDED_MS * (0.5 + random()) : 0
  }

  const rounds = async (): Promise<void> => {
    let failures = 0
    while (!stopping.signal.aborted) {
      let waitMs: number
      busy = true
      try {
        waitMs = await round()
        failures = 0
      } catch (err) {
        failures += 1
        failed += 1
        waitMs = backoffMs(failures, random)
        log.warn({ err, failures }, 'a claim failed and will be tried again')
      }
      busy = false
      if (failures > 0) await clock.sleep(waitMs, stopping.signal).catch(() => undefined)
      else if (waitMs > 0) {
        await latch.wait(waitMs)
        // Attempts that end in the same turn of the event loop free their places together: one claim for all.
        await nextTurn()
      }
    }
  }
  const running = rounds()

  return {
    get busy() {
      return busy
    },
    get failed() {
      return failed
    },
    hint: (keys) => {
      if (keys) lanes.hint(keys)
      else {
        discoverAt = 0
        lookAgain = true
      }
      latch.ring()
    },
    ring: () => latch.ring(),
    stop: () => {
      stopping.abort()
      latch.ring()
      return Promise.all([running, looking]).then(() => undefined)
    },
  }
}
