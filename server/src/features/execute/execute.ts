/**
 * The door of the execute feature: one operation of a connector, now, through the pipeline of DESIGN §8.
 *
 * Invariants. Nothing goes upstream before connector, operation, input and policy have been checked. Every attempt
 * of one execution carries the same idempotency key. Every execution that passed these checks leaves a row in the
 * request log and an event, whatever came of it; of a request that did not pass them nothing is stored.
 */
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import type { ActiveConfigs, ActiveConnector } from '../configs/configs.ts'
import { findOperation } from '../connectors/connectors.ts'
import type { Policy } from '../policies/policies.ts'
import { type CallDeps, callUpstream, type Progress } from './call-upstream.ts'
import { entryOf } from './entry.ts'
import type { Execution, ExecutionResult } from './execution.ts'
import { asAnswer } from './failure-answers.ts'
import type { RequestLog } from './request-log.ts'

export type { Execution, ExecutionResult } from './execution.ts'
export { createRequestLog, type RequestLog } from './request-log.ts'

export interface ExecuteDeps extends CallDeps {
  readonly activeConfigs: ActiveConfigs
  readonly requestLog: RequestLog
}

export interface Executor {
  execute(execution: Execution): Promise<ExecutionResult>
  /** For a process that can wait no longer: gives up what runs, and resolves when all of it is recorded. */
  stop(): Promise<void>
}

/**
 * Runs executions. Nothing but `stop` gives one up, and a caller that hangs up neither: a call that is under way is
 * better finished and logged than left with an unknown outcome.
 */
export function createExecutor(deps: ExecuteDeps): Executor {
  const stopping = new AbortController()
  const running = new Set<Promise<ExecutionResult>>()
  return {
    execute: (execution) => {
      const one = execute(deps, execution, stopping.signal).finally(() => running.delete(one))
      running.add(one)
      return one
    },
    stop: async () => {
      stopping.abort(new Error('the process is stopping'))
      await Promise.allSettled(running)
    },
  }
}

/**
 * Runs one execution. Errors: `connector_not_found`, `operation_not_found`, `input_invalid`, `policy_violation`,
 * `secret_unresolved`, `target_forbidden`, `upstream_error`, `upstream_rejected`, `upstream_timeout`,
 * `shutting_down`, `database_unavailable`.
 */
async function execute(
  deps: ExecuteDeps,
  execution: Execution,
  stopSignal: AbortSignal,
): Promise<ExecutionResult> {
  const { clock } = deps.platform
  const startedAt = clock.monotonic()
  const { tenantId } = execution.principal
  const active = await deps.activeConfigs.connector(tenantId, execution.connector)
  const policy = checked(execution, active)
  const id = newId()
  const idempotencyKey = execution.idempotencyKey ?? `orch-${id}`
  const progress: Progress = { attempts: 0, failures: [] }
  const finish = (outcome: string, httpStatus: number | null, message: string): number => {
    const latencyMs = Math.round(clock.monotonic() - startedAt)
    const at = new Date(clock.now())
    const ended = { id, idempotencyKey, outcome, httpStatus, message, latencyMs, ...progress }
    deps.requestLog.record(entryOf(execution, active.configVersion, ended, at))
    return latencyMs
  }
  try {
    const result = await callUpstream(deps, execution, {
      active,
      policy,
      idempotencyKey,
      progress,
      stopSignal,
    })
    const latencyMs = finish('ok', result.httpStatus, succeeded(execution, progress))
    return { ...result, attempts: progress.attempts, latencyMs, idempotencyKey }
  } catch (error) {
    const failures = progress.failures.map(({ failure }) => failure)
    const problem = asAnswer(error, { attempts: progress.attempts, failures, idempotencyKey })
    const httpStatus = progress.failures.at(-1)?.failure.httpStatus ?? null
    if (problem instanceof Problem) finish(problem.code, httpStatus, failed(problem, progress))
    else finish('internal_error', httpStatus, 'An unexpected failure inside the hub.')
    throw problem
  }
}

/** The policy in force for a request without faults. Errors: `operation_not_found`, `input_invalid`, `policy_violation`. */
function checked({ operation, input, limits }: Execution, { connector, policy }: ActiveConnector): Policy {
  findOperation(connector, operation).validateInput(input)
  return policy(operation, limits).policy
}

const succeeded = (execution: Execution, { attempts }: Progress): string =>
  execution.dryRun ? 'Dry run: everything was checked, nothing was sent.' : `Done at attempt ${attempts}.`

const failed = (problem: Problem, { attempts, failures }: Progress): string => {
  const why = failures.at(-1)?.decision.why
  return `${problem.message}${attempts > 0 ? ` Attempt ${attempts}${why ? `, ${why}` : ''}.` : ''}`
}
