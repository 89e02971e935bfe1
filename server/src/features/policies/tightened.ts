import { Problem, type ProblemDetail } from '../../problems.ts'
import type { RequestLimits } from './policies.schema.ts'
import {
  type EffectivePolicy,
  type Policy,
  type PolicySource,
  PRIORITIES,
  RATE_LIMIT_SCOPES,
} from './policy.ts'

const AT = '/body/options'

/**
 * The policy for a request that asks for less. One that asks for nothing, or for what it has, gets the same object:
 * only tightening costs something. Errors: `policy_violation` with everything that it asks for and cannot have.
 */
export function tightened(effective: EffectivePolicy, request: RequestLimits): EffectivePolicy {
  const { policy } = effective
  const faults = loosenings(policy, request)
  const [first] = faults
  if (first) throw new Problem('policy_violation', `${first.path} ${first.message}.`, { details: faults })

  const changed: Record<string, unknown> = {}
  const sources: Record<string, PolicySource> = {}
  const set = <S extends keyof Policy>(section: S, key: keyof Policy[S] & string, value: unknown): void => {
    if (value === undefined || policy[section][key] === value) return
    changed[section] = Object.freeze({ ...policy[section], [key]: value })
    sources[`${section}.${key}`] = 'request'
  }
  set('timeouts', 'total_ms', request.timeout_ms)
  set('retry', 'max_attempts', request.max_attempts)
  set('load_shedding', 'priority', request.priority)
  set('rate_limits', 'cost', request.cost)
  if (Object.keys(changed).length === 0) return effective
  return Object.freeze({
    policy: Object.freeze({ ...policy, ...changed }),
    // Calls do not ask where a value came from, and fifty names are slow to copy.
    get sources() {
      return { ...effective.sources, ...sources }
    },
  })
}

function loosenings(policy: Policy, request: RequestLimits): ProblemDetail[] {
  const { timeout_ms, max_attempts, priority, cost } = request
  const faults: ProblemDetail[] = []
  const refuse = (field: keyof RequestLimits, message: string): void => {
    faults.push({ path: `${AT}/${field}`, message })
  }
  const { total_ms } = policy.timeouts
  if (timeout_ms !== undefined && timeout_ms > total_ms)
    refuse('timeout_ms', `must be at most ${total_ms}, the total time of the policy`)
  const attempts = policy.retry.max_attempts
  if (max_attempts !== undefined && max_attempts > attempts)
    refuse('max_attempts', `must be at most ${attempts}, the attempts of the policy`)
  const granted = policy.load_shedding.priority
  if (priority !== undefined && PRIORITIES.indexOf(priority) > PRIORITIES.indexOf(granted))
    refuse('priority', `must not be above ${granted}, the priority of the policy`)
  if (cost !== undefined) {
    const least = policy.rate_limits.cost
    if (cost < least) refuse('cost', `must be at least ${least}, the cost of the policy`)
    const narrow = RATE_LIMIT_SCOPES.find((scope) => burstOf(policy, scope) < cost)
    if (narrow)
      refuse(
        'cost',
        `must be at most ${burstOf(policy, narrow)}, the burst of the policy’s limit ${narrow}: it could never pass`,
      )
  }
  return faults
}

function burstOf({ rate_limits }: Policy, scope: (typeof RATE_LIMIT_SCOPES)[number]): number {
  const limit = rate_limits[scope]
  return limit?.mode === 'enforce' ? limit.burst : Number.POSITIVE_INFINITY
}
