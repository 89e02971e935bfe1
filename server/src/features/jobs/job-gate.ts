import type { ClaimedJob, Outcome } from '../../queue/job.ts'

/**
 * Whoever answers for jobs that stand for something else, e.g. the deliveries of webhooks. Undefined = the job goes
 * its way like any other.
 */
export interface JobGate {
  /** Before the attempt: how it ends without a call. */
  before(job: ClaimedJob): Promise<Outcome | undefined>
  /** After it failed: how it ends instead. `error` is a `CallFailure`, or a `Problem` of less than 500. */
  after(job: ClaimedJob, error: unknown): Promise<Outcome | undefined>
}
