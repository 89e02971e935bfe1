/**
 * The door of the policies feature: how long a workspace's calls may take and how often they are repeated.
 *
 * Inheritance: system ← kind (what the connector's kind needs) ← workspace (the policy named `default`) ←
 * connector (the policy it names) ← request. Each
 * level overrides the values it names and no others; a request may only tighten. A policy is part of the config
 * document (features/configs), so it is immutable once stored and read from memory.
 */
import { Ajv } from 'ajv'
import { faultsOf } from '../../platform/http/validation.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'
import type { BackoffSchedule } from '../../resilience/backoff.ts'
import { PolicyDocument, type RequestLimits } from './policies.schema.ts'

export { PolicyDocument, type RequestLimits } from './policies.schema.ts'

export interface ExponentialRetry {
  readonly max_attempts: number
  readonly base_ms: number
  readonly factor: number
  readonly cap_ms: number
}

/** A policy with every value decided. */
export interface Policy {
  readonly timeouts: { readonly connect_ms: number; readonly attempt_ms: number; readonly total_ms: number }
  readonly retry: ExponentialRetry
  readonly job_retry: { readonly schedule_ms: readonly number[] } | ExponentialRetry
  readonly job_wait: { readonly upstream_ms: number }
  /** Jobs that run at once, of the connector and of its workspace (null = no cap), and the workspace's share. */
  readonly concurrency: {
    readonly max_running: number | null
    readonly workspace_max_running: number | null
    readonly workspace_weight: number
  }
}

export type PolicySource = 'system' | 'kind' | 'workspace' | 'connector' | 'request'

export interface EffectivePolicy {
  readonly policy: Policy
  /** Where each value came from, by its dotted name: `timeouts.connect_ms`, `job_retry.schedule_ms`, … */
  readonly sources: Readonly<Record<string, PolicySource>>
}

/** DESIGN §8; jobs as Hookdeck Outpost has them: 10 attempts, 30 s doubling up to an hour. */
const SYSTEM_JOB_RETRY: ExponentialRetry = { max_attempts: 10, base_ms: 30_000, factor: 2, cap_ms: 3_600_000 }

/**
 * What applies where no policy says otherwise. A busy upstream gets as long as Standard Webhooks gives a broken one:
 * its schedule ends after three days.
 */
export const SYSTEM_POLICY: Policy = {
  timeouts: { connect_ms: 3_000, attempt_ms: 10_000, total_ms: 15_000 },
  retry: { max_attempts: 4, base_ms: 250, factor: 2, cap_ms: 5_000 },
  job_retry: SYSTEM_JOB_RETRY,
  job_wait: { upstream_ms: 3 * 86_400_000 },
  concurrency: { max_running: null, workspace_max_running: null, workspace_weight: 1 },
}

/** The waits that Standard Webhooks recommends for deliveries: 10 attempts in about three days. */
export const STANDARD_WEBHOOKS_SCHEDULE_MS: readonly number[] = [
  0, 5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000,
]

/**
 * The policy in force and where each of its values came from. `connector` is the policy that the connector
 * names. Errors: `policy_violation` when the request asks for more than it would get without asking.
 */
export function effectivePolicy(levels: {
  readonly kind?: PolicyDocument
  readonly workspace?: PolicyDocument
  readonly connector?: PolicyDocument
  readonly request?: RequestLimits
}): EffectivePolicy {
  const sources: Record<string, PolicySource> = {}
  const named: [PolicySource, PolicyDocument | undefined][] = [
    ['kind', levels.kind],
    ['workspace', levels.workspace],
    ['connector', levels.connector],
  ]
  /** The values of one section, each from the innermost level that names it. */
  const section = <Values extends object>(name: keyof PolicyDocument, system: Values): Values => {
    const values = { ...system }
    for (const key of Object.keys(system) as (keyof Values & string)[]) {
      sources[`${name}.${key}`] = 'system'
      for (const [source, document] of named) {
        const value = (document?.[name] as Partial<Values> | undefined)?.[key]
        if (value === undefined) continue
        values[key] = value
        sources[`${name}.${key}`] = source
      }
    }
    return values
  }

  const timeouts = section('timeouts', SYSTEM_POLICY.timeouts)
  const retry = section('retry', SYSTEM_POLICY.retry)
  const jobWait = section('job_wait', SYSTEM_POLICY.job_wait)
  // What applies to the workspace is not inherited: it stands in the workspace's own policy or nowhere.
  const { workspace_max_running, workspace_weight } = levels.workspace?.concurrency ?? {}
  const concurrency: Policy['concurrency'] = {
    ...section('concurrency', { max_running: SYSTEM_POLICY.concurrency.max_running }),
    workspace_max_running: workspace_max_running ?? SYSTEM_POLICY.concurrency.workspace_max_running,
    workspace_weight: workspace_weight ?? SYSTEM_POLICY.concurrency.workspace_weight,
  }
  for (const [name, value] of Object.entries({ workspace_max_running, workspace_weight }))
    sources[`concurrency.${name}`] = value === undefined ? 'system' : 'workspace'
  const asked = levels.request?.timeout_ms
  if (asked !== undefined && asked > timeouts.total_ms) throw looserThanPolicy(asked, timeouts.total_ms)
  if (asked !== undefined && asked < timeouts.total_ms) sources['timeouts.total_ms'] = 'request'

  // A table and exponential waits exclude each other, so the innermost level that says anything decides which.
  const innermost = named.findLast(([, document]) => document?.job_retry !== undefined)
  const table = innermost?.[1]?.job_retry?.schedule_ms
  let jobRetry: Policy['job_retry']
  if (innermost && table) {
    jobRetry = { schedule_ms: table }
    sources['job_retry.schedule_ms'] = innermost[0]
  } else jobRetry = section('job_retry', SYSTEM_JOB_RETRY)

  return {
    policy: {
      timeouts: { ...timeouts, total_ms: asked ?? timeouts.total_ms },
      retry,
      job_retry: jobRetry,
      job_wait: jobWait,
      concurrency,
    },
    sources,
  }
}

function looserThanPolicy(asked: number, limit: number): Problem {
  const path = '/body/options/timeout_ms'
  const message = `must be at most ${limit}, the total time of the policy`
  return new Problem('policy_violation', `A timeout_ms of ${asked} is more than the policy's ${limit}.`, {
    details: [{ path, message }],
  })
}

const fitsSchema = new Ajv({ allErrors: true, strict: true }).compile(PolicyDocument)

/**
 * Every fault of a policy with its path, e.g. `/retry/cap_ms`; empty = may be saved. A value is also held
 * against the values that it will meet: what the policy itself says, else what it inherits.
 */
export function checkPolicy(document: unknown, inherited: Policy = SYSTEM_POLICY): ProblemDetail[] {
  if (!fitsSchema(document)) return faultsOf(fitsSchema.errors, '')
  const policy = document as PolicyDocument
  const timeouts = { ...inherited.timeouts, ...policy.timeouts }
  const retry = { ...inherited.retry, ...policy.retry }
  const faults = [
    notAbove('/timeouts/attempt_ms', policy.timeouts?.attempt_ms, timeouts.total_ms, 'total_ms'),
    notAbove('/timeouts/connect_ms', policy.timeouts?.connect_ms, timeouts.attempt_ms, 'attempt_ms'),
    notAbove('/retry/base_ms', policy.retry?.base_ms, retry.cap_ms, 'cap_ms'),
    ...jobRetryFaults(policy.job_retry ?? {}, inherited),
  ]
  return faults.filter((fault) => fault !== undefined)
}

function jobRetryFaults(jobRetry: NonNullable<PolicyDocument['job_retry']>, inherited: Policy) {
  const { schedule_ms: table, ...exponential } = jobRetry
  if (!table) {
    const above = 'cap_ms' in inherited.job_retry ? inherited.job_retry : SYSTEM_JOB_RETRY
    const cap = exponential.cap_ms ?? above.cap_ms
    return [notAbove('/job_retry/base_ms', exponential.base_ms, cap, 'cap_ms')]
  }
  const excluded = Object.keys(exponential).map((key) => ({
    path: `/job_retry/${key}`,
    message: 'cannot stand beside schedule_ms',
  }))
  if (table[0] === 0) return excluded
  const first = { path: '/job_retry/schedule_ms/0', message: 'must be 0: the first attempt is not delayed' }
  return [...excluded, first]
}

const notAbove = (
  path: string,
  value: number | undefined,
  limit: number,
  name: string,
): ProblemDetail | undefined =>
  value === undefined || value <= limit
    ? undefined
    : { path, message: `must not be above ${name} (${limit})` }

/** The retries of one execution. */
export const callSchedule = (policy: Policy): BackoffSchedule => exponentialSchedule(policy.retry)

/** The retries of a job. */
export const jobSchedule = (policy: Policy): BackoffSchedule =>
  'schedule_ms' in policy.job_retry
    ? { kind: 'table', delaysMs: policy.job_retry.schedule_ms }
    : exponentialSchedule(policy.job_retry)

const exponentialSchedule = (retry: ExponentialRetry): BackoffSchedule => ({
  kind: 'exponential',
  maxAttempts: retry.max_attempts,
  baseMs: retry.base_ms,
  factor: retry.factor,
  capMs: retry.cap_ms,
})
