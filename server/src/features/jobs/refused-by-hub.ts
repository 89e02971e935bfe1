import type { Platform } from '../../platform/platform.ts'
import type { ClaimedJob, Outcome } from '../../queue/job.ts'
import type { CallFailure } from '../../resilience/failure.ts'
import { holdLaneBack } from './hold-lane-back.ts'

/**
 * Permits come back one by one. To start a job for each of them would be a claim for each; so a lane rests for as
 * long as its burst needs to be whole, at most for this long, and then uses what has gathered.
 */
const REST_MS = 1_000
/** Faster claims would be a load of their own. */
const SHORTEST_REST_MS = 100
/** A rule without an end of its own is asked again. */
const LONGEST_REST_MS = 60_000

/** Of these all jobs of a lane take their permits. */
const OF_ALL = new Set(['workspace', 'connector'])

/**
 * One of the hub's own rules refused the attempt (a rate limit, an open breaker): nothing was sent, so no attempt is
 * spent. A rule that would tell all jobs of the lane the same stops the lane; what only this job cannot have (a limit
 * of its operation, permits for its higher cost) it waits for alone. Never rejects.
 */
export async function waitsForRule(
  platform: Pick<Platform, 'db' | 'log' | 'random'>,
  job: ClaimedJob,
  failure: CallFailure,
): Promise<Outcome> {
  const { refusedBy, message, retryAfterMs = 0 } = failure
  const why = `${message} No attempt is spent.`
  const usedUp = (failure.fullLimits ?? []).filter(
    ({ name, remaining }) => remaining === 0 && OF_ALL.has(name),
  )
  if (refusedBy === 'rate_limit' && usedUp.length === 0) {
    // Spread, or all jobs of the operation would come back together for one permit.
    const delayMs = within(REST_MS, retryAfterMs) * (1 + platform.random())
    return { kind: 'snooze', delayMs: Math.ceil(delayMs), why }
  }
  if (refusedBy === 'breaker') {
    const forMs = within(REST_MS, retryAfterMs)
    await holdLaneBack(platform, job, { forMs, reason: 'circuit_open', why })
    return { kind: 'snooze', delayMs: forMs, why }
  }
  const refillMs = Math.max(...usedUp.map((limit) => limit.refillMs))
  const forMs = within(Math.min(REST_MS, Math.max(SHORTEST_REST_MS, refillMs)), retryAfterMs)
  await holdLaneBack(platform, job, { forMs, reason: 'rate_limited', why })
  return { kind: 'snooze', delayMs: forMs, why }
}

const within = (shortestMs: number, askedMs: number): number =>
  Math.min(LONGEST_REST_MS, Math.max(shortestMs, Math.ceil(askedMs)))
