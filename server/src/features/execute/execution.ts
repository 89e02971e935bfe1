import type { Principal } from '../../platform/auth/principal.ts'
import type { CallContext } from '../../platform/call-context.ts'
import type { ServedFrom } from '../../resilience/pipeline.ts'
import type { RateLimitOptions } from '../../resilience/rate-limit.ts'
import type { FailedAttempt } from '../../resilience/retry.ts'
import type { RequestLimits } from '../policies/policies.ts'

export interface Execution {
  readonly principal: Pick<Principal, 'subject' | 'tenantId'>
  readonly call: CallContext
  readonly connector: string
  readonly operation: string
  readonly input: unknown
  /** What the request asks of its policy. */
  readonly limits?: RequestLimits | undefined
  readonly dryRun?: boolean | undefined
  readonly metadata?: Readonly<Record<string, string>> | undefined
  readonly idempotency?: RequestKey | undefined
  /** Told how the rate limits stand, also when one of them refuses the call. */
  readonly onCharged?: RateLimitOptions['onCharged']
}

/** The Idempotency-Key of a request, and what the key stands for. */
export interface RequestKey {
  readonly key: string
  readonly fingerprint: Buffer
  /** How long the caller waits for an execution that runs already; 0 = not at all. */
  readonly waitMs: number
}

/** How an execution ended, as the request log and the event tell it. */
export interface Ended {
  /** Of the row of the log: a second run of the same execution has a row of its own. */
  readonly logId: string
  readonly executionId: string
  readonly idempotencyKey: string
  /** `ok`, or the code of the problem that the caller got. */
  readonly outcome: string
  readonly httpStatus: number | null
  /** One sentence. */
  readonly message: string
  readonly latencyMs: number
  readonly attempts: number
  readonly failures: readonly FailedAttempt[]
  readonly wouldHave: readonly string[]
  /** Who answered, when it was not the upstream that this call asked. */
  readonly servedFrom?: ServedFrom | undefined
}
