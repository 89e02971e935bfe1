import { context } from '@opentelemetry/api'
import { traceparentOf } from '../../platform/call-context.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Secret } from '../../platform/secret.ts'
import { attemptTimeout, remainingMs, totalDeadline } from '../../resilience/deadline.ts'
import { outermost, runPipeline } from '../../resilience/pipeline.ts'
import { type FailedAttempt, retry } from '../../resilience/retry.ts'
import type { ActiveConnector } from '../configs/configs.ts'
import { invokeOperation } from '../connectors/connectors.ts'
import {
  budgetOf,
  circuitStage,
  type GuardedCall,
  type Guards,
  limitStage,
  placeStage,
  type WouldHave,
} from '../guards/guards.ts'
import { callSchedule, type Policy } from '../policies/policies.ts'
import type { Execution } from './execution.ts'

/** What a call needs besides itself. */
export interface CallDeps {
  readonly platform: Pick<Platform, 'clock' | 'random'>
  readonly dial: Dial
  readonly resolveSecret: (tenantId: string, refName: string) => Promise<Secret>
  readonly guards: Guards
  readonly onWouldHave: WouldHave
}

/** What an execution has done so far. */
export interface Progress {
  attempts: number
  readonly failures: FailedAttempt[]
  /** Rules in shadow mode that would have refused the call. */
  readonly wouldHave: string[]
}

export interface Started {
  readonly active: ActiveConnector
  readonly policy: Policy
  readonly idempotencyKey: string
  readonly progress: Progress
  readonly stopSignal: AbortSignal
}

/** One checked execution through the stages of its policy, in the order of DESIGN §8. */
export async function callUpstream(
  deps: CallDeps,
  execution: Execution,
  { active, policy, idempotencyKey, progress, stopSignal }: Started,
): Promise<{ output: unknown; httpStatus: number | null }> {
  const { clock, random } = deps.platform
  const { tenantId } = execution.principal
  const { connector } = active
  if (execution.dryRun) {
    await Promise.all(Object.values(connector.secretRefs).map((name) => deps.resolveSecret(tenantId, name)))
    return { output: null, httpStatus: null }
  }

  const guarded: GuardedCall = {
    tenantId,
    connector: connector.name,
    operation: execution.operation,
    callerKey: execution.limits?.rate_limit_key,
    policy,
    connectorPolicy: active.policy().policy,
    onWouldHave: (rule) => {
      progress.wouldHave.push(rule)
      deps.onWouldHave(rule)
    },
  }
  // DESIGN §8, outer to inner; the stages that are not here yet have their place between these.
  const stages = [
    totalDeadline({ totalMs: policy.timeouts.total_ms, clock }),
    limitStage(deps.guards, guarded, execution.onCharged),
    placeStage(deps.guards, guarded),
    retry({
      schedule: callSchedule(policy),
      clock,
      random,
      budget: budgetOf(deps.guards, guarded),
      onFailure: (attempt) => progress.failures.push(attempt),
    }),
    circuitStage(deps.guards, guarded, clock),
    attemptTimeout({ attemptMs: policy.timeouts.attempt_ms, clock }),
  ]
  return runPipeline(stages, outermost(stopSignal), (scope) => {
    progress.attempts = scope.attempt
    return invokeOperation(
      { dial: deps.dial, clock, resolveSecret: (name) => deps.resolveSecret(tenantId, name) },
      connector,
      execution.operation,
      execution.input,
      {
        signal: scope.signal,
        connectTimeoutMs: policy.timeouts.connect_ms,
        remainingMs: remainingMs(scope, clock),
        idempotencyKey,
        attemptToken: newId(),
        traceparent: traceparentOf(context.active()),
      },
    )
  })
}
