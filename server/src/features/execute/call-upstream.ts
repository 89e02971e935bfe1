import { context } from '@opentelemetry/api'
import { traceparentOf } from '../../platform/call-context.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Secret } from '../../platform/secret.ts'
import { attemptTimeout, remainingMs, totalDeadline } from '../../resilience/deadline.ts'
import { CallFailure } from '../../resilience/failure.ts'
import { type CallResult, outermost, runPipeline, type StageOf } from '../../resilience/pipeline.ts'
import { type FailedAttempt, retry } from '../../resilience/retry.ts'
import type { ActiveConnector } from '../configs/configs.ts'
import { dryRunOperation, findOperation, invokeOperation } from '../connectors/connectors.ts'
import {
  answerStages,
  budgetOf,
  circuitStage,
  type GuardMetrics,
  type Guards,
  limitStage,
  permitsOf,
  placeStage,
  type SafeCall,
} from '../guards/guards.ts'
import { attemptMsOf, callSchedule, type Policy } from '../policies/policies.ts'
import type { Execution } from './execution.ts'

/** What a call needs besides itself. */
export interface CallDeps {
  readonly platform: Pick<Platform, 'clock' | 'random'>
  readonly dial: Dial
  readonly resolveSecret: (tenantId: string, refName: string) => Promise<Secret>
  readonly guards: Guards
  readonly guardMetrics: GuardMetrics
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
): Promise<CallResult> {
  const { guards, guardMetrics } = deps
  const { clock, random } = deps.platform
  const { tenantId } = execution.principal
  const { connector } = active
  const invoking = { ...deps, clock, resolveSecret: (name: string) => deps.resolveSecret(tenantId, name) }
  if (execution.dryRun) {
    const { operation, input } = execution
    const output = await dryRunOperation(invoking, connector, operation, input, idempotencyKey)
    return { output, httpStatus: null }
  }

  const call: SafeCall = {
    tenantId,
    connector: connector.name,
    operation: execution.operation,
    callerKey: execution.limits?.rate_limit_key,
    policy,
    connectorPolicy: active.policy().policy,
    attemptMs: attemptMsOf(active.policy(execution.operation).policy),
    configVersion: active.configVersion,
    input: execution.input,
    onHedge: guardMetrics.hedged,
    onWouldHave: (rule) => {
      progress.wouldHave.push(rule)
      guardMetrics.wouldHave(rule)
    },
  }
  const isSafe = findOperation(connector, execution.operation).safe
  const answers = isSafe ? answerStages(guards, call, clock) : undefined
  const stages: StageOf<CallResult>[] = [
    ...(answers?.fallback ?? []),
    totalDeadline({ totalMs: policy.timeouts.total_ms, clock }),
    ...(answers?.memory ?? []),
    limitStage(guards, call, execution.onCharged),
    placeStage(guards, call),
    retry({
      schedule: callSchedule(policy),
      clock,
      random,
      budget: budgetOf(guards, call),
      takePermits: permitsOf(guards, call),
      onFailure: (attempt) => {
        progress.failures.push(attempt)
        if (attempt.decision.again) guardMetrics.repeated()
        else if (attempt.decision.refusedBy) guardMetrics.notRepeated(attempt.decision.refusedBy)
      },
    }),
    ...(answers?.hedge ?? []),
    circuitStage(guards, call, clock),
    attemptTimeout({ attemptMs: policy.timeouts.attempt_ms, clock }),
  ]
  const result = await runPipeline<CallResult>(stages, outermost(stopSignal), (scope) => {
    // Counted here: a hedge is a call of its own.
    progress.attempts += 1
    return invokeOperation(invoking, connector, execution.operation, execution.input, {
      signal: scope.signal,
      connectTimeoutMs: policy.timeouts.connect_ms,
      remainingMs: remainingMs(scope, clock),
      idempotencyKey,
      attemptToken: newId(),
      traceparent: traceparentOf(context.active()),
    })
  }).catch((error: unknown) => {
    if (error instanceof CallFailure) guardMetrics.refused(error)
    throw error
  })
  if (result.servedFrom && result.servedFrom !== 'upstream') guardMetrics.servedFrom(result.servedFrom)
  return result
}
