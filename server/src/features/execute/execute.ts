/**
 * The door of the execute feature: one operation of a connector, now, through the pipeline of DESIGN §8.
 *
 * Invariants. Nothing goes upstream before connector, operation, input and policy have been checked, and before the
 * key of the caller is taken (docs/decisions/0013). Every attempt of one execution carries the same upstream key.
 * Every execution that passed these checks leaves a row in the request log and an event, whatever came of it; of a
 * request that did not pass them nothing is stored.
 */
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import type { ActiveConfigs } from '../configs/configs.ts'
import { findOperation } from '../connectors/connectors.ts'
import { admitCall } from '../guards/guards.ts'
import type { Policy } from '../policies/policies.ts'
import { type Answer, successTexts, upstreamKeyOf, withoutKey } from './answer.ts'
import type { Execution } from './execution.ts'
import type { ExecutionKeys } from './execution-keys.ts'
import { type Checked, executeKeyed, type KeyedDeps } from './keyed-execution.ts'
import { knownAnswer } from './large-answers.ts'
import { rerun } from './rerun.ts'
import { type RunDeps, runExecution } from './run-execution.ts'

export type { Answer } from './answer.ts'
export type { Execution } from './execution.ts'
export { createExecutionKeys, type ExecutionKeys } from './execution-keys.ts'
export { executionsSince, LOGGED_CALLS_DEPTH, type LoggedCall, loggedCalls } from './logged-calls.ts'
export { createRequestLog, type RequestLog } from './request-log.ts'

export interface ExecuteDeps extends RunDeps {
  readonly activeConfigs: ActiveConfigs
  readonly platform: KeyedDeps['platform']
  readonly keys: ExecutionKeys
  /** For answers that are too large for the row of their key. */
  readonly payloads: KeyedDeps['payloads']
}

export interface Executor {
  execute(execution: Execution): Promise<Answer>
  /** Runs an execution again whose outcome is unknown and whose key is held; never rejects. */
  rerun(due: Parameters<typeof rerun>[1]): Promise<void>
  /** For a process that can wait no longer: gives up what runs, and resolves when all of it is recorded. */
  stop(): Promise<void>
}

/**
 * Runs executions. Nothing but `stop` gives one up, and a caller that hangs up neither: a call that is under way is
 * better finished and logged than left with an unknown outcome.
 */
export function createExecutor(options: ExecuteDeps): Executor {
  const deps: KeyedDeps & ExecuteDeps = { ...options, held: new Map() }
  const stopping = new AbortController()
  const running = new Set<Promise<unknown>>()
  const tracked = <T>(work: Promise<T>): Promise<T> => {
    const one = work.finally(() => running.delete(one))
    running.add(one)
    return one
  }
  return {
    execute: (execution) => tracked(execute(deps, execution, stopping.signal)),
    rerun: (due) => tracked(rerun(deps, due, stopping.signal)),
    stop: async () => {
      stopping.abort(new Error('the process is stopping'))
      await Promise.allSettled(running)
    },
  }
}

/**
 * Runs one execution, or gives the answer of the one that had its key. Errors: `connector_not_found`,
 * `operation_not_found`, `input_invalid`, `policy_violation`, `idempotency_key_missing`, `idempotency_key_reused`,
 * `idempotency_in_flight`, `idempotent_response_gone`, `secret_unresolved`, `target_forbidden`, `rate_limited`, `concurrency_limited`,
 * `circuit_open`, `overloaded`, `upstream_error`, `upstream_rejected`, `upstream_timeout`, `shutting_down`, `database_unavailable`,
 * `payload_store_unavailable`, `payload_damaged`.
 */
async function execute(
  deps: KeyedDeps & ExecuteDeps,
  execution: Execution,
  stopSignal: AbortSignal,
): Promise<Answer> {
  const startedAt = deps.platform.clock.monotonic()
  // A dry run sends nothing, so there is nothing to remember.
  const request = execution.dryRun ? undefined : execution.idempotency
  let checked: Checked
  try {
    checked = { ...(await check(deps, execution)), execution, startedAt, stopSignal }
  } catch (error) {
    // What was carried out once stays so, whatever the config and the policy say now.
    if (!request || !(error instanceof Problem) || error.status >= 500) throw error
    const { tenantId } = execution.principal
    const known = await deps.keys.find({ tenantId, ...request })
    if (!known) throw error
    return knownAnswer(deps, tenantId, known, request.key)
  }
  if (request) return executeKeyed(deps, checked, request)
  return executeOnce(deps, checked)
}

/** Errors: `operation_not_found`, `input_invalid`, `policy_violation`, `idempotency_key_missing`. */
async function check(deps: ExecuteDeps, execution: Execution) {
  const { principal, limits } = execution
  const active = await deps.activeConfigs.connector(principal.tenantId, execution.connector)
  const operation = findOperation(active.connector, execution.operation)
  operation.validateInput(execution.input)
  const { policy } = active.policy(execution.operation, limits)
  admitCall(deps.guards.loadShed, policy, deps.guardMetrics)
  if (operation.safe || execution.idempotency || execution.dryRun) return { active, operation, policy }
  if (policy.idempotency.required)
    throw new Problem(
      'idempotency_key_missing',
      'The operation may have an effect, so the call needs an Idempotency-Key.',
      { details: [{ path: '/headers/idempotency-key', message: 'is missing' }] },
    )
  // Nobody can recognise a repetition, so there is none.
  return { active, operation, policy: withoutRepetition(policy) }
}

/** Made once for each policy: what is derived from a policy is remembered by the object. */
const unrepeated = new WeakMap<Policy, Policy>()

function withoutRepetition(policy: Policy): Policy {
  const known = unrepeated.get(policy)
  if (known) return known
  const made = { ...policy, retry: { ...policy.retry, max_attempts: 1 } }
  unrepeated.set(policy, made)
  return made
}

/** An execution that nobody can ask for again. */
async function executeOnce(deps: RunDeps, checked: Checked): Promise<Answer> {
  const { execution } = checked
  const executionId = newId()
  const key = execution.idempotency?.key ?? upstreamKeyOf(executionId)
  const ran = await runExecution(deps, { ...checked, id: executionId, key, expiresAt: null, takenUp: false })
  if (!ran.ok) {
    // The caller's next call would have another upstream key.
    const harmless = checked.operation.safe || checked.operation.idempotent === true
    throw ran.effect === 'unknown' && ran.error instanceof Problem && !harmless
      ? withoutKey(ran.error)
      : ran.error
  }
  const servedFrom = execution.dryRun ? 'dry_run' : (ran.servedFrom ?? 'upstream')
  const { first } = successTexts(execution, { ...ran, servedFrom, executionId, key, expiresAt: null })
  return { status: 200, text: first, replayed: false }
}
