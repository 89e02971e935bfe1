/**
 * The queue: jobs that run later, at least once, with one stable key over all attempts.
 *
 * Where a job lives is its state:
 *
 *   enqueue ──► ready ──claim──► run ──settle──► done | cancelled | dead      (`job.state`)
 *      │          ▲               │
 *      │       promote            ├─ retry, snooze, rescue ──► deferred
 *      └──► deferred ◄────────────┘  hand-back ──► ready
 *
 *   dead ──replay──► ready                     (a new life; only an operator asks for it)
 *
 * Invariants, each held by a test:
 * 1. An unfinished job has exactly one row in `job_ready`, `job_run` and `job_deferred` together. A finished one
 *    has none, but for a row in `job_ready` that a cancel left behind and that the next claim drops. A dead one has
 *    its row in `job_dead` until it is replayed or the bin is emptied; no other job has one.
 * 2. A job is finished once per life; done and cancelled are for good, and only a dead letter can live again.
 *    A replay takes the letter and makes the job ready in one statement; attempts of earlier lives do not count.
 *    Every change of a held job names its lease; a stale lease changes nothing.
 * 3. A claim takes the tenant's lock first and counts in the next statement, so caps are exact over all nodes.
 *    A cancel takes the same lock, so a job cancelled while it waited never starts.
 * 4. Snooze, hand-back, blocked and paused lanes spend no attempt; a retry and a lost worker spend one.
 * 5. What must happen with the end of a job (`FollowUps`) commits with it.
 * 6. A job is forgotten only when it is over, is no dead letter and has been kept for long enough, and all of its day
 *    with it.
 *
 * `enqueue.ts` and `enqueuer.ts` put jobs in, `cancel.ts` takes them out, `dead-letters.ts` brings them back,
 * `expire.ts` ends those that did not start in time (waiting ──► dead), `reconcile.ts` mends what breaks invariant
 * 1, `job-history.ts` says which days may be forgotten, `old-letters.ts` puts old dead letters into the bin, `read.ts`
 * and `depth.ts` show jobs, `lane-policy.ts` and `pause.ts` steer lanes.
 *
 * This file builds the runner of a worker process. A job goes through it in one direction:
 * `lanes.ts` (whose turn) ──► `claimer.ts` ──► `attempts.ts` (with its `places.ts`) ──► `settler.ts`,
 * and `background.ts` does beside it what no single job asks for: beat, promote, rescue, expire, keep house.
 */
import { hostname } from 'node:os'
import type { Db } from '../platform/db/db.ts'
import { newId } from '../platform/ids.ts'
import type { Platform } from '../platform/platform.ts'
import { createAttempts, type Handler } from './attempts.ts'
import { createBackground, TIMING, type Timing } from './background.ts'
import { CANCEL_CHANNEL } from './cancel.ts'
import type { Claimed } from './claim.ts'
import { type Claimer, startClaimer } from './claimer.ts'
import { createHeart } from './heart.ts'
import { ensurePartitions } from './housekeeping.ts'
import type { FollowUps } from './job.ts'
import { createLanes } from './lanes.ts'
import { planSettings, removeNode } from './node.sql.ts'
import { queueMetrics } from './queue-metrics.ts'
import { createSettler } from './settler.ts'
import type { WakeUp } from './wake-up.ts'

/**
 * Session settings of the database pool that claims, settles and promotes (`createDb({ session })`). The hot
 * tables are empty one minute and full the next; a plan made by their statistics would be a sequential scan.
 */
export const QUEUE_SESSION = {
  enable_seqscan: 'off',
  enable_bitmapscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  // Before Postgres 18 what is off costs 10^10 instead: enough for every plan to be worth compiling.
  jit: 'off',
  // A plan of its own for every call looks cheaper where a statement reads few of many partitions, and is not.
  plan_cache_mode: 'force_generic_plan',
} as const

/**
 * Connections of that pool: one for each of claim, look around, settle, promote, beat, rescue and expire, which never
 * need a second one. With fewer a beat would wait behind the others when the database is slow, and a node that has not beaten for
 * 10 s aborts what it runs.
 */
export const QUEUE_CONNECTIONS = 7

export interface RunnerOptions {
  readonly platform: Platform
  /** A pool of its own with `QUEUE_SESSION` and at least `QUEUE_CONNECTIONS`. */
  readonly claimDb: Db
  /** The same object that the enqueuers of this Node process have, so that they reach the runner directly. */
  readonly wakeUp: WakeUp
  readonly handler: Handler
  readonly followUps?: FollowUps
  /** Attempts at once. A fifth of the places is kept for the critical queue. */
  readonly concurrency: number
  readonly nodeId?: string
  /** Longest run of one attempt in ms; then its signal aborts, and 30 s later others may take the job. */
  readonly maxRunMs?: number
  readonly timing?: Partial<Timing>
}

export interface Runner {
  readonly nodeId: string
  /** Attempts that run now. */
  readonly running: number
  /** Resolves when the node is registered and claims. */
  start(): Promise<void>
  /**
   * Claims nothing more, waits for running attempts up to `graceMs`, then aborts them and hands what is left back
   * unspent. Resolves when everything is stored or, with the database away, after some seconds.
   */
  stop(graceMs: number): Promise<void>
}

const NOTHING = { shared: 0, reserved: 0, turn: 1 }
const ABORT_GRACE_MS = 1_000
const STORE_GRACE_MS = 5_000

/** Builds the part of a worker that claims jobs, runs them through `handler` and stores how they ended. */
export function createRunner(options: RunnerOptions): Runner {
  const { platform, claimDb, wakeUp, concurrency, followUps } = options
  const { clock, random, log, db } = platform
  const nodeId = options.nodeId ?? newId()
  const maxRunMs = options.maxRunMs ?? 300_000
  const timing = { ...TIMING, ...options.timing }
  const metrics = queueMetrics(platform.metrics)
  const lanes = createLanes(() => clock.monotonic())
  const held = new Set<number>()
  let unsubscribe: (() => void)[] = []
  let claimer: Claimer | undefined
  let stopping = false

  const settler = createSettler({
    db: claimDb,
    followUps,
    clock,
    random,
    log,
    settled: (settled, stale, followed) => {
      for (const { job, row, outcome } of settled) {
        metrics.settled.inc({ queue: job.queue, outcome: row.outcome })
        if ('delayMs' in outcome) background.promoteIn(outcome.delayMs)
      }
      if (stale > 0) {
        metrics.stale.inc(stale)
        log.warn({ stale }, 'settlements refused: their leases had been given to somebody else')
      }
      wakeUp.hint(followed)
    },
  })

  const settle = (settlement: Parameters<typeof settler.settle>[0]): void => {
    const { leaseId } = settlement.job
    void settler.settle(settlement).then(() => {
      held.delete(leaseId)
      lanes.settled(settlement.job)
      if (settlement.outcome.kind === 'returned') wakeUp.hint([settlement.job])
      claimer?.ring()
    })
  }

  const attempts = createAttempts({
    handler: options.handler,
    concurrency,
    maxRunMs,
    clock,
    random,
    log,
    started: ({ queue }, delayMs) => {
      metrics.startDelay.observe({ queue }, delayMs / 1_000)
      metrics.running.inc({ queue })
    },
    ended: (settlement) => {
      metrics.running.dec({ queue: settlement.job.queue })
      settle(settlement)
      claimer?.ring()
    },
    notStarted: settle,
  })

  const claimed = (claim: Claimed): void => {
    const { job } = claim
    held.add(job.leaseId)
    metrics.claimed.inc({ queue: job.queue })
    if (stopping) {
      settle({ job, outcome: { kind: 'returned', why: 'The worker stops; the attempt is not spent.' } })
      return
    }
    attempts.start(claim)
  }

  const heart = createHeart({
    db: claimDb,
    nodeId,
    host: hostname(),
    capacity: concurrency,
    clock,
    held: () => [...held],
    claiming: () => claimer?.busy ?? false,
    failedClaims: () => claimer?.failed ?? 0,
    cancel: (leaseId) => attempts.abort(leaseId, 'cancelled'),
  })

  const background = createBackground({
    platform,
    claimDb,
    wakeUp,
    followUps,
    nodeId,
    timing,
    heart,
    attempts,
  })

  const within = async (ms: number, what: Promise<void> | undefined): Promise<void> => {
    const done = new AbortController()
    await Promise.race([what, clock.sleep(ms, done.signal).catch(() => undefined)])
    done.abort()
  }

  return {
    nodeId,
    get running() {
      return attempts.running
    },
    start: async () => {
      const { seqscan } = await planSettings(claimDb, undefined)
      if (seqscan !== 'off') throw new Error('claimDb must be created with session: QUEUE_SESSION')
      await ensurePartitions(db, log)
      await heart.beat()
      claimer = startClaimer({
        db: claimDb,
        lanes,
        nodeId,
        maxRunMs,
        discoverMs: timing.discoverMs,
        clock,
        random,
        log,
        // Places are free again before the settlement is stored; a slow database must not let those pile up.
        wanted: (urgent) => (settler.size > 2 * concurrency ? NOTHING : attempts.wanted(urgent)),
        claimed,
        beat: heart.beat,
      })
      background.start()
      unsubscribe = [
        wakeUp.subscribe((hinted) => claimer?.hint(hinted)),
        platform.notifications.listen(CANCEL_CHANNEL, (lease) => attempts.abort(Number(lease), 'cancelled')),
      ]
    },
    stop: async (graceMs) => {
      stopping = true
      await within(STORE_GRACE_MS, claimer?.stop())
      attempts.handBackWaiting(0, 'The worker stops; the attempt is not spent.')
      await within(graceMs, attempts.idle())
      attempts.abortAll('stopping')
      await within(ABORT_GRACE_MS, attempts.idle())
      attempts.handBack('The worker stopped before the attempt ended; the attempt is not spent.')
      await within(STORE_GRACE_MS, settler.drained())
      settler.abandon()
      for (const end of unsubscribe) end()
      await background.stop()
      const knowsAll = await heart.leave().catch(() => false)
      // With leases left the row must stay: the others see it go silent and take the jobs.
      if (held.size === 0 && knowsAll) await removeNode(db, { nodeId }).catch(() => undefined)
    },
  }
}
