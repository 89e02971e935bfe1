import { createFairLine, type Waiting } from './fair-line.ts'
import type { ClaimedJob, QueueName } from './job.ts'

/**
 * The places of one node: how many attempts run at once, which of them are kept for the critical queue, and how
 * many jobs are claimed ahead of a free place.
 */
export interface Places {
  /** What the next claim may bring; zeros when enough is here. `urgent`: somebody new waits, a small claim is worth it. */
  wanted(urgent: boolean): Wanted
  /** Starts the job now, or as soon as a place is free. */
  take(waiting: Waiting): void
  /** An attempt has ended: its place goes to the next job that waits. */
  ended(job: ClaimedJob): void
  /** Takes a job back that waits for a place; undefined when it does not. */
  giveUp(leaseId: number): Waiting | undefined
  /** Takes all back that have waited for at least this long. */
  giveUpAfter(ms: number): Waiting[]
}

export interface Wanted {
  /** Jobs of any queue. */
  readonly shared: number
  /** Jobs of the critical queue only. */
  readonly reserved: number
  /** Jobs of one tenant before the next one has its turn. */
  readonly turn: number
}

export interface PlacesOptions {
  readonly concurrency: number
  start(waiting: Waiting): void
  /** Monotonic milliseconds. */
  now(): number
}

/** A fifth of the places is kept for the critical queue. */
const RESERVED_SHARE = 0.2
/**
 * Jobs are claimed as far ahead as the node works off in this time, so that a node with short jobs claims many at
 * once instead of one for each place that becomes free (a claim costs as much as eight jobs of it), and one with
 * long jobs claims nothing that it cannot start.
 */
const AHEAD_MS = 5
/** Short turns share few places well; long ones make claims ahead cheap, which pay for each lane they ask. */
const SHORTEST_TURN = 2
const TURNS_AHEAD = 16
/** Weight of the past in the rate of ended attempts fades with this time constant. */
const RATE_MS = 200

export function createPlaces({ concurrency, start, now }: PlacesOptions): Places {
  const reserved = concurrency > 1 ? Math.max(1, Math.round(concurrency * RESERVED_SHARE)) : 0
  const running = { critical: 0, others: 0 }
  // Two lines: a job that may use the reserved places must not stand behind one that may not.
  const waiting = { critical: createFairLine(), others: createFairLine() }
  let rate = 0
  let ended = 0
  let ratedAtMs = now()

  const kindOf = (queue: QueueName) => (queue === 'critical' ? 'critical' : 'others')
  const free = () => concurrency - running.critical - running.others
  const keptForCritical = () => Math.max(0, reserved - running.critical)

  /** Attempts that end per millisecond. */
  const currentRate = (): number => {
    const passedMs = now() - ratedAtMs
    if (passedMs < 1) return rate
    const fading = Math.exp(-passedMs / RATE_MS)
    rate = rate * fading + (ended / passedMs) * (1 - fading)
    ended = 0
    ratedAtMs = now()
    return rate
  }

  const fill = (): void => {
    for (const kind of ['critical', 'others'] as const)
      while (free() > (kind === 'critical' ? 0 : keptForCritical())) {
        const next = waiting[kind].next()
        if (next === undefined) break
        running[kind] += 1
        start(next)
      }
  }

  return {
    wanted: (urgent) => {
      const ahead = Math.min(concurrency, Math.floor(AHEAD_MS * currentRate()))
      const ready = waiting.critical.size + waiting.others.size
      const forCritical = Math.max(0, Math.min(free(), keptForCritical()) - waiting.critical.size)
      const room = Math.max(0, free() + ahead - ready - forCritical)
      // With half of it still here the claim that is worth its price comes later; who has just come gets a turn in a
      // claim of its own size, beyond what is claimed ahead.
      const most = urgent && ahead > 0 && ready < 2 * ahead ? Math.max(room, 2 * SHORTEST_TURN) : room
      const shared = urgent || ready <= ahead / 2 ? most : 0
      return { reserved: forCritical, shared, turn: Math.max(SHORTEST_TURN, Math.ceil(ahead / TURNS_AHEAD)) }
    },
    take: (one) => {
      waiting[kindOf(one.job.queue)].add(one)
      fill()
    },
    ended: (job) => {
      running[kindOf(job.queue)] -= 1
      ended += 1
      fill()
    },
    giveUp: (leaseId) => waiting.critical.remove(leaseId) ?? waiting.others.remove(leaseId),
    giveUpAfter: (ms) => Object.values(waiting).flatMap((line) => line.removeUntil(now() - ms)),
  }
}
