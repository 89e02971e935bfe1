import { failPoint } from '../../platform/fail-points.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { PROBLEMS, Problem } from '../../problems.ts'
import type { ActiveConnector } from '../configs/configs.ts'
import { type ConnectorOperation, sendsKey } from '../connectors/connectors.ts'
import type { Policy } from '../policies/policies.ts'
import { type Answer, problemText, successTexts, withAdvice, withFreeKey } from './answer.ts'
import type { Execution, RequestKey } from './execution.ts'
import type { ExecutionKeys, KeyClaim, KeyEnd, KeyRow } from './execution-keys.ts'
import type { Failed } from './failure-answers.ts'
import { keepAnswer, knownAnswer, type LargeAnswers } from './large-answers.ts'
import { type Ran, type RunDeps, runExecution } from './run-execution.ts'

/** How long a lease outlives the time that its call has. */
export const LEASE_SLACK_MS = 15_000
/** For calls that another process runs: the pause before the database is asked again doubles up to a second. */
const FIRST_POLL_MS = 50
const LAST_POLL_MS = 1_000
/** Of an answer that is kept with its key, for those who repeat the call; larger ones are payloads. */
const MAX_STORED_BYTES = 1024 * 1024

export interface KeyedDeps extends RunDeps {
  readonly platform: Pick<Platform, 'clock' | 'random' | 'db' | 'log'>
  readonly keys: ExecutionKeys
  readonly payloads: LargeAnswers
  /** Executions with a key that this process runs, by `holdOf`. */
  readonly held: Map<string, Promise<unknown>>
}

/** An execution whose connector, operation, input and policy have been checked. */
export interface Checked {
  readonly execution: Execution
  readonly active: ActiveConnector
  readonly operation: ConnectorOperation
  readonly policy: Policy
  /** `clock.monotonic()`. */
  readonly startedAt: number
  readonly stopSignal: AbortSignal
}

/**
 * One execution under the key of its caller. The key is taken before anything goes upstream and what came of it is
 * stored before the caller hears of it. Errors: those of the execution, `idempotency_in_flight`,
 * `idempotency_key_reused`, `idempotent_response_gone`, `database_unavailable` when the key could not be taken.
 */
export async function executeKeyed(deps: KeyedDeps, checked: Checked, request: RequestKey): Promise<Answer> {
  failPoint('execute.before_claim')
  const { row, joined } = await claimOrJoin(
    deps,
    claimOf(checked, request),
    request.waitMs,
    checked.stopSignal,
  )
  if (row.verdict !== 'claimed') {
    const { tenantId } = checked.execution.principal
    return { ...(await knownAnswer(deps, tenantId, row, request.key)), joined }
  }
  failPoint('execute.after_claim')
  const hold = holdOf(checked.execution, request)
  const running = runHeld(deps, checked, { row, key: request.key })
  const over = running.then(
    () => undefined,
    () => undefined,
  )
  deps.held.set(hold, over)
  try {
    return await running
  } finally {
    if (deps.held.get(hold) === over) deps.held.delete(hold)
  }
}

const holdOf = ({ principal }: Pick<Execution, 'principal'>, { key }: Pick<RequestKey, 'key'>): string =>
  `${principal.tenantId} ${key}`

function claimOf(
  { execution, active, operation, policy }: Checked,
  { key, fingerprint }: RequestKey,
): KeyClaim {
  const { principal, call } = execution
  return {
    tenantId: principal.tenantId,
    key,
    fingerprint,
    executionId: newId(),
    leaseMs: policy.timeouts.total_ms + LEASE_SLACK_MS,
    keepMs: policy.idempotency.keep_ms,
    repeatable: operation.repeatable,
    safe: operation.safe,
    connector: execution.connector,
    operation: execution.operation,
    configVersion: active.configVersion,
    subject: principal.subject,
    requestId: call.requestId,
    correlationId: call.correlationId,
    traceparent: call.traceparent,
    // For the worker, who comes late: only a key keeps it from doing over what others have changed since. What does
    // no harm when it is repeated needs nobody to find out what came of it.
    input:
      sendsKey(operation, execution.input) && !operation.safe
        ? JSON.stringify(execution.input ?? null)
        : undefined,
  }
}

/** Takes the key, or waits for whoever has it as long as the caller wants to wait; then says who has it. */
async function claimOrJoin(
  { keys, held, platform: { clock } }: KeyedDeps,
  claim: KeyClaim,
  waitMs: number,
  stopSignal: AbortSignal,
): Promise<{ row: KeyRow; joined: boolean }> {
  const until = clock.monotonic() + waitMs
  let row = await keys.claim(claim)
  for (let pauseMs = FIRST_POLL_MS, joined = false; ; pauseMs = Math.min(2 * pauseMs, LAST_POLL_MS)) {
    const leftMs = until - clock.monotonic()
    if (row.verdict !== 'running' || leftMs <= 0 || stopSignal.aborted) return { row, joined }
    joined = true
    const here = held.get(`${claim.tenantId} ${claim.key}`)
    const done = new AbortController()
    const signal = AbortSignal.any([done.signal, stopSignal])
    const timer = clock.sleep(here ? leftMs : Math.min(pauseMs, leftMs), signal).catch(() => undefined)
    await (here ? Promise.race([here, timer]) : timer)
    done.abort()
    // Looking costs no write; only what may be taken is claimed.
    const known = await keys.find(claim)
    row = known && known.verdict !== 'unknown' ? known : await keys.claim(claim)
  }
}

interface Held {
  readonly row: Pick<KeyRow, 'execution_id' | 'lease' | 'expires_at'>
  readonly key: string
  /** Nobody waits for it. */
  readonly byWorker?: boolean
}

/** Runs an execution whose key is held, and stores what came of it before it tells. */
export async function runHeld(deps: KeyedDeps, checked: Checked, held: Held): Promise<Answer> {
  const { row, key } = held
  const ran = await runExecution(deps, {
    ...checked,
    id: row.execution_id,
    key,
    expiresAt: row.expires_at,
    takenUp: row.lease > 1,
  })
  const { end, answer, large } = ran.ok ? endOf(checked, held, ran) : endOfFailed(checked, held, ran)
  const { tenantId } = checked.execution.principal
  failPoint('execute.before_store')
  if (large !== undefined) await keepAnswer(deps, { tenantId, executionId: row.execution_id, text: large })
  await deps.keys.end({
    tenantId,
    key,
    executionId: row.execution_id,
    lease: row.lease,
    ...end,
  })
  failPoint('execute.after_store')
  return answer()
}

interface Ended {
  /** What is stored of a run … */
  readonly end: Pick<KeyEnd, 'to' | 'outcome' | 'status' | 'answer' | 'again' | 'counts'>
  /** The answer, when it is too large to be stored with the key. */
  readonly large?: string
  /** … and what its caller gets. */
  answer(): Answer
}

function endOf({ execution }: Checked, { row, key }: Held, ran: Ran & { readonly ok: true }): Ended {
  // Not the upstream's answer: who asks again shall get that.
  const standIn = ran.servedFrom === 'stale' || ran.servedFrom === 'static'
  const executionId = row.execution_id
  const expiresAt = standIn ? null : row.expires_at
  const texts = successTexts(execution, { ...ran, executionId, key, expiresAt })
  const answer = () => ({ status: 200, text: texts.first, replayed: false })
  if (standIn) return { end: { to: 'released' }, answer }
  const end = { to: 'finished', outcome: 'ok', status: 200 } as const
  // The fact counts, and is kept also without the answer.
  return Buffer.byteLength(texts.again) <= MAX_STORED_BYTES
    ? { end: { ...end, answer: texts.again }, answer }
    : { end, large: texts.again, answer }
}

function endOfFailed(
  { execution, operation }: Checked,
  { row, byWorker = false }: Held,
  ran: Ran & { readonly ok: false },
): Ended {
  const to = stateAfter(ran, operation)
  const problem = ran.error instanceof Problem ? ran.error : undefined
  const told =
    problem &&
    (to === 'unknown'
      ? withAdvice(problem, row.execution_id, operation.repeatable)
      : to === 'released'
        ? withFreeKey(problem)
        : problem)
  // A re-run that sent nothing tells nothing: neither of the outcome nor of whether another one is of use.
  const nothingNew = row.lease > 1 && ran.attempts === 0
  return {
    end: {
      to,
      again: nothingNew || !ran.forGood,
      counts: byWorker && ran.attempts > 0,
      ...(told &&
        !nothingNew && {
          outcome: told.code,
          status: PROBLEMS[told.code].status,
          answer: problemText(told, execution),
        }),
    },
    answer: () => {
      throw told ?? ran.error
    },
  }
}

/** What becomes of the key of a failed execution. */
function stateAfter({ effect }: Failed, operation: ConnectorOperation): KeyEnd['to'] {
  // Nothing arrived, or the upstream said that it has not been done and may be done later: as if it had not been tried.
  if (effect === 'not_sent' || effect === 'put_off') return 'released'
  if (effect === 'unknown') return operation.safe ? 'released' : 'unknown'
  return 'finished'
}
