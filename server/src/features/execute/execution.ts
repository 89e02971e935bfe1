import type { Principal } from '../../platform/auth/principal.ts'
import type { CallContext } from '../../platform/call-context.ts'
import type { FailedAttempt } from '../../resilience/retry.ts'

export interface Execution {
  readonly principal: Principal
  readonly call: CallContext
  readonly connector: string
  readonly operation: string
  readonly input: unknown
  readonly timeoutMs?: number | undefined
  readonly dryRun?: boolean | undefined
  readonly metadata?: Readonly<Record<string, string>> | undefined
  readonly idempotencyKey?: string | undefined
}

export interface ExecutionResult {
  readonly output: unknown
  readonly httpStatus: number | null
  readonly attempts: number
  readonly latencyMs: number
  readonly idempotencyKey: string
}

/** How an execution ended, as the request log and the event tell it. */
export interface Ended {
  readonly id: string
  readonly idempotencyKey: string
  /** `ok`, or the code of the problem that the caller got. */
  readonly outcome: string
  readonly httpStatus: number | null
  /** One sentence. */
  readonly message: string
  readonly latencyMs: number
  readonly attempts: number
  readonly failures: readonly FailedAttempt[]
}
