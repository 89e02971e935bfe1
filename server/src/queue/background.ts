import type { Db } from '../platform/db/db.ts'
import type { Platform } from '../platform/platform.ts'
import type { Attempts } from './attempts.ts'
import { expire } from './expire.ts'
import type { Heart } from './heart.ts'
import { createHousekeeping } from './housekeeping.ts'
import type { FollowUps } from './job.ts'
import { type Loop, startLoop } from './loop.ts'
import { createPromoter, LONGEST_PAUSE_MS } from './promote.ts'
import { queueMetrics } from './queue-metrics.ts'
import { RESCUE_LIMITS, rescue } from './rescue.ts'
import type { WakeUp } from './wake-up.ts'

export interface Timing {
  readonly beatMs: number
  readonly rescueMs: number
  readonly expireMs: number
  readonly discoverMs: number
  readonly housekeepingMs: number
  /** Without a confirmed beat for this long the node stops its work; less than `RESCUE_LIMITS.deadAfterMs`. */
  readonly silentMs: number
}

export const TIMING: Timing = {
  beatMs: 3_000,
  rescueMs: 5_000,
  expireMs: 1_000,
  discoverMs: 1_000,
  housekeepingMs: 15_000,
  silentMs: 10_000,
}

const WATCH_MS = 250
/** Of a job claimed ahead of a free place. */
const LONGEST_WAIT_MS = 250

export interface BackgroundOptions {
  readonly platform: Platform
  readonly claimDb: Db
  readonly wakeUp: WakeUp
  readonly followUps: FollowUps | undefined
  readonly nodeId: string
  readonly timing: Timing
  readonly heart: Heart
  readonly attempts: Attempts
}

/** What a worker does all the time beside running jobs. */
export interface Background {
  start(): void
  stop(): Promise<void>
  /** A job was deferred by this much; the promoter may sleep longer than that. */
  promoteIn(ms: number): void
}

export function createBackground(options: BackgroundOptions): Background {
  const { claimDb, wakeUp, followUps, timing, heart } = options
  const { clock, random, log, db } = options.platform
  const metrics = queueMetrics(options.platform.metrics)
  let promoting: Loop | undefined
  let loops: Loop[] = []

  const promote = createPromoter(
    claimDb,
    (jobs, lanes) => {
      metrics.promoted.inc(jobs)
      wakeUp.hint(lanes)
    },
    () => clock.monotonic(),
  )

  const rescueRound = async (): Promise<void> => {
    const { lanes, ...fates } = await rescue(claimDb, { limits: RESCUE_LIMITS, followUps, log })
    for (const [fate, jobs] of Object.entries(fates)) metrics.rescued.inc({ fate }, jobs)
    wakeUp.hint(lanes)
    if (fates.retried + fates.dead + fates.cancelled > 0) log.warn(fates, 'jobs of lost workers rescued')
  }

  const expireRound = async (): Promise<void> => {
    const { expired, lanes } = await expire(claimDb, { followUps, log })
    metrics.expired.inc(expired)
    wakeUp.hint(lanes)
  }

  const housekeeping = createHousekeeping({
    db,
    owner: options.nodeId,
    metrics,
    log,
    now: () => clock.monotonic(),
    revived: (lanes) => wakeUp.hint(lanes),
  })

  /** Others may have taken our jobs by now: what still runs here would run twice. */
  const stopWhenSilent = (): void => {
    if (heart.silentForMs() > timing.silentMs) options.attempts.abortAll('lease_lost')
  }

  const watch = (): void => {
    stopWhenSilent()
    // Attempts became longer than those before them; another node may have a place at once.
    options.attempts.handBackWaiting(
      LONGEST_WAIT_MS,
      'The worker had no place free; the attempt is not spent.',
    )
  }

  const beat = (): Promise<void> => {
    // A process that was frozen and thawed must not declare itself healthy before it looked at the time.
    stopWhenSilent()
    return heart.beat()
  }

  const every = (name: string, ms: number, work: () => Promise<void> | void): Loop =>
    startLoop({
      name,
      clock,
      random,
      log,
      work: async () => {
        await work()
        return ms * (0.75 + random() / 2)
      },
    })

  return {
    start: () => {
      promoting = startLoop({ name: 'promote', clock, random, log, work: promote })
      loops = [
        promoting,
        every('heartbeat', timing.beatMs, beat),
        every('watch', WATCH_MS, watch),
        every('rescue', timing.rescueMs, rescueRound),
        every('expire', timing.expireMs, expireRound),
        every('housekeeping', timing.housekeepingMs, housekeeping.round),
      ]
    },
    stop: async () => {
      await Promise.all(loops.map((loop) => loop.stop()))
      // With the database away the lead ends by itself.
      await housekeeping.resign().catch(() => undefined)
    },
    promoteIn: (ms) => {
      if (ms < LONGEST_PAUSE_MS) void clock.sleep(ms).then(() => promoting?.ring())
    },
  }
}
