import { Ajv } from 'ajv'
import { faultsOf } from '../../platform/http/validation.ts'
import type { ProblemDetail } from '../../problems.ts'
import { OF_THE_WORKSPACE, overlaid } from './effective-policy.ts'
import { PolicyDocument } from './policies.schema.ts'
import { type Policy, RATE_LIMIT_SCOPES } from './policy.ts'
import { SYSTEM_POLICY } from './system-policy.ts'

/** At which level a policy stands; what it may say depends on it. */
export type PolicyLevel = 'workspace' | 'connector' | 'operation'

/** The calls of a connector share one state for each of these, so that its operations cannot differ in them. */
const OF_THE_CONNECTOR = [
  'retry_budget',
  'breaker',
  'bulkhead',
  'concurrency',
  'rate_limits.connector',
] as const
/** Limits are counted in whole µs × permits; beyond this a JavaScript number is not whole any more. */
const MAX_BURST_TIME = 8_800_000_000_000
const MAX_OUTPUT_BYTES = 64 * 1_024

const fitsSchema = new Ajv({ allErrors: true, strict: true, allowUnionTypes: true }).compile(PolicyDocument)

/**
 * Every fault of a policy with its path, e.g. `/retry/cap_ms`; empty = may be saved. A value is also held
 * against the values that it will meet: what the policy itself says, else what it inherits. Only values that the
 * policy names are at fault: an inherited attempt that is longer than a new total is ended by the total.
 */
export function checkPolicy(
  document: unknown,
  inherited: Policy = SYSTEM_POLICY,
  level: PolicyLevel = 'workspace',
): ProblemDetail[] {
  if (!fitsSchema(document)) return faultsOf(fitsSchema.errors, '')
  const policy = document as PolicyDocument
  const met = overlaid(inherited, policy, level)
  return [
    ...misplaced(policy, level),
    ...limitsAbove(policy, met),
    ...rateLimitFaults(policy, met),
    ...jobRetryFaults(policy, met),
    ...fallbackFaults(policy),
  ]
}

/** What a policy names and may not name at its level. */
function misplaced(document: PolicyDocument, level: PolicyLevel): ProblemDetail[] {
  const faults: ProblemDetail[] = []
  if (level !== 'workspace')
    for (const name of OF_THE_WORKSPACE)
      if ((valueAt(document, name) ?? null) !== null)
        faults.push({
          path: pathOf(name),
          message: 'can only stand in the policy default: it is of the workspace',
        })
  if (level === 'operation')
    for (const name of OF_THE_CONNECTOR)
      if (valueAt(document, name) !== undefined)
        faults.push({ path: pathOf(name), message: 'is of the whole connector, not of one operation' })
  return faults
}

const pathOf = (name: string): string => `/${name.replace('.', '/')}`

function valueAt(document: PolicyDocument, name: string): unknown {
  const [section = '', key] = name.split('.')
  const values = (document as Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>)[
    section
  ]
  return key === undefined ? values : values?.[key]
}

/** Values that must not be above others. `met` are all values that the policy will work with. */
function limitsAbove(
  { timeouts, retry, breaker, bulkhead, hedge }: PolicyDocument,
  met: Policy,
): ProblemDetail[] {
  const { attempt_ms, total_ms } = met.timeouts
  const faults = [
    notAbove('/timeouts/attempt_ms', timeouts?.attempt_ms, total_ms, 'total_ms'),
    notAbove('/timeouts/connect_ms', timeouts?.connect_ms, attempt_ms, 'attempt_ms'),
    notAbove('/retry/base_ms', retry?.base_ms, met.retry.cap_ms, 'cap_ms'),
    notAbove('/breaker/slow_call_ms', breaker?.slow_call_ms, attempt_ms, 'attempt_ms'),
    notAbove('/breaker/open_ms', breaker?.open_ms, met.breaker.open_cap_ms, 'open_cap_ms'),
    notAbove('/bulkhead/wait_ms', bulkhead?.wait_ms, total_ms, 'total_ms'),
  ]
  if (typeof hedge?.delay_ms === 'number' && hedge.delay_ms >= attempt_ms)
    faults.push({
      path: '/hedge/delay_ms',
      message: `must be below attempt_ms (${attempt_ms}): the second call would never be made`,
    })
  return faults.filter((fault) => fault !== undefined)
}

const notAbove = (
  path: string,
  value: number | null | undefined,
  limit: number,
  name: string,
): ProblemDetail | undefined =>
  value === undefined || value === null || value <= limit
    ? undefined
    : { path, message: `must not be above ${name} (${limit})` }

/** A call that costs more than a limit ever holds would never pass; a breaker cannot count calls that a limit refuses. */
function rateLimitFaults(document: PolicyDocument, met: Policy): ProblemDetail[] {
  const faults: ProblemDetail[] = []
  const { cost, ...limits } = met.rate_limits
  for (const scope of RATE_LIMIT_SCOPES) {
    const limit = limits[scope]
    if (limit && document.rate_limits?.[scope] && limit.burst * limit.period_ms > MAX_BURST_TIME)
      faults.push({
        path: `/rate_limits/${scope}/period_ms`,
        message: `is too long for so large a burst: their product must be at most ${MAX_BURST_TIME}`,
      })
    if (!limit || limit.mode === 'off' || limit.burst >= cost) continue
    if (document.rate_limits?.[scope])
      faults.push({
        path: `/rate_limits/${scope}/burst`,
        message: `must be at least the cost of a call (${cost}): none would ever pass`,
      })
    else if (document.rate_limits?.cost !== undefined)
      faults.push({
        path: '/rate_limits/cost',
        message: `must not be above the burst of the limit ${scope} (${limit.burst}): no call would ever pass`,
      })
  }
  const { min_calls, window_ms } = met.breaker
  const limit = limits.connector
  if (limit?.mode !== 'enforce') return faults
  const most = Math.floor((limit.burst + (limit.permits * window_ms) / limit.period_ms) / cost)
  const named = (['min_calls', 'window_ms'] as const).find((key) => document.breaker?.[key] !== undefined)
  if (named && min_calls > most)
    faults.push({
      path: `/breaker/${named}`,
      message: `does not fit the limit connector: it lets ${most} calls pass in window_ms (${window_ms}), and min_calls (${min_calls}) would never be reached`,
    })
  return faults
}

function jobRetryFaults({ job_retry }: PolicyDocument, met: Policy): ProblemDetail[] {
  const { schedule_ms: table, ...exponential } = job_retry ?? {}
  if (!table) {
    if (!('cap_ms' in met.job_retry)) return []
    const fault = notAbove('/job_retry/base_ms', exponential.base_ms, met.job_retry.cap_ms, 'cap_ms')
    return fault ? [fault] : []
  }
  const excluded = Object.keys(exponential).map((key) => ({
    path: `/job_retry/${key}`,
    message: 'cannot stand beside schedule_ms',
  }))
  if (table[0] === 0) return excluded
  const first = { path: '/job_retry/schedule_ms/0', message: 'must be 0: the first attempt is not delayed' }
  return [...excluded, first]
}

function fallbackFaults({ fallback }: PolicyDocument): ProblemDetail[] {
  if (!fallback) return []
  const path = '/fallback/output'
  const has = Object.hasOwn(fallback, 'output')
  if (fallback.type === 'static' && !has) return [{ path, message: 'is missing: it is what static answers' }]
  // null is what a policy in force shows where there is no such answer.
  if (!has || (fallback.type !== 'static' && fallback.output === null)) return []
  if (fallback.type !== 'static') return [{ path, message: 'can only stand beside the type static' }]
  const bytes = Buffer.byteLength(JSON.stringify(fallback.output) ?? '')
  return bytes <= MAX_OUTPUT_BYTES
    ? []
    : [{ path, message: `must be at most ${MAX_OUTPUT_BYTES} bytes of JSON; it has ${bytes}` }]
}
