import type { Platform } from '../../platform/platform.ts'
import type { ClaimedJob, Outcome } from '../../queue/job.ts'
import { msSinceBusy } from '../../queue/read.ts'
import type { CallFailure } from '../../resilience/failure.ts'

/** An upstream that asks for more than a day is believed a day; then it is asked again. */
const LONGEST_BLOCK_MS = 24 * 3_600_000

/**
 * The wait in ms that an upstream asks all callers for: a Retry-After of 429 (RFC 6585 §4) or of 503
 * (RFC 9110 §15.6.4). With other answers it speaks of the one request only.
 */
export function askedToWait({ httpStatus, retryAfterMs }: CallFailure): number | undefined {
  if ((httpStatus !== 429 && httpStatus !== 503) || !retryAfterMs) return undefined
  return Math.min(retryAfterMs, LONGEST_BLOCK_MS)
}

/**
 * 429 says that the request was not carried out and when to come again: no attempt is spent, no schedule asked. But
 * not for ever: `longestMs` after the first such answer the job is a dead letter. Never rejects: when the
 * database cannot tell how long it has been, the job waits on.
 */
export async function waitsForUpstream(
  { db, log }: Pick<Platform, 'db' | 'log'>,
  job: ClaimedJob,
  failure: CallFailure,
  { waitMs, longestMs }: { readonly waitMs: number; readonly longestMs: number },
): Promise<Outcome> {
  const sinceMs = await msSinceBusy(db, job).catch((err: unknown) => {
    log.warn({ err, tenant_id: job.tenantId, job_id: job.id }, 'how long a job has waited could not be read')
    return undefined
  })
  if (sinceMs === undefined || sinceMs < longestMs)
    return {
      kind: 'snooze',
      delayMs: waitMs,
      httpStatus: 429,
      why: `HTTP 429: Retry-After ${seconds(waitMs)} honoured, no attempt spent.`,
    }
  return {
    kind: 'dead',
    reason: 'upstream_busy',
    error: { class: failure.kind, message: failure.message, httpStatus: 429 },
    why: `HTTP 429: the upstream has been busy for ${span(sinceMs)}, longer than the policy waits (job_wait.upstream_ms, ${span(longestMs)}).`,
  }
}

/** Why the jobs behind the one that heard it do not start. */
export const busyLane = ({ httpStatus }: CallFailure, { connector }: ClaimedJob, waitMs: number): string =>
  `HTTP ${httpStatus}: Retry-After ${seconds(waitMs)} honoured; jobs of ${connector} wait without spending attempts.`

const seconds = (ms: number): string => `${Math.ceil(ms / 1_000)} s`

/** In the largest unit of which there are two. */
function span(ms: number): string {
  const [size, unit] = UNITS.find(([each]) => ms >= 2 * each) ?? [1_000, 's']
  return `${Math.floor(ms / size)} ${unit}`
}

const UNITS = [
  [86_400_000, 'days'],
  [3_600_000, 'hours'],
  [60_000, 'minutes'],
] as const
