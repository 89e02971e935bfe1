import type { Platform } from '../../platform/platform.ts'
import type { ClaimedJob, Outcome } from '../../queue/job.ts'
import type { CallFailure } from '../../resilience/failure.ts'
import { holdLaneBack } from './hold-lane-back.ts'

/**
 * Permits come back one by one. To start a job for each of them would be a claim for each; so a lane rests for this
 * long and then uses what has gathered.
 */
const SHORTEST_REST_MS = 1_000
/** A rule without an end of its own is asked again. */
const LONGEST_REST_MS = 60_000

/**
 * One of the hub's own rules refused the attempt (a rate limit, an open breaker): nothing was sent, so no attempt is
 * spent. The whole lane waits for the rule: the jobs behind this one would hear the same. Never rejects.
 */
export async function waitsForRule(
  platform: Pick<Platform, 'db' | 'log'>,
  job: ClaimedJob,
  { refusedBy, message, retryAfterMs = 0 }: CallFailure,
): Promise<Outcome> {
  const forMs = Math.min(LONGEST_REST_MS, Math.max(SHORTEST_REST_MS, Math.ceil(retryAfterMs)))
  const reason = refusedBy === 'breaker' ? 'circuit_open' : 'rate_limited'
  const why = `${message} No attempt is spent.`
  await holdLaneBack(platform, job, { forMs, reason, why })
  return { kind: 'snooze', delayMs: forMs, why }
}
