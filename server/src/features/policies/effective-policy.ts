import type { PolicyDocument, RequestLimits } from './policies.schema.ts'
import type { EffectivePolicy, Policy, PolicySource, RateLimitRule } from './policy.ts'
import { frozen, SYSTEM_JOB_RETRY, SYSTEM_POLICY } from './system-policy.ts'
import { tightened } from './tightened.ts'

/** The documents of the levels between the system and the request, outermost first. */
export interface PolicyLevels {
  readonly kind?: PolicyDocument | undefined
  readonly workspace?: PolicyDocument | undefined
  readonly connector?: PolicyDocument | undefined
  readonly operation?: PolicyDocument | undefined
}

/** What is of the whole workspace stands in its own policy or nowhere: no other level is asked. */
export const OF_THE_WORKSPACE = [
  'rate_limits.workspace',
  'bulkhead.workspace_mode',
  'bulkhead.workspace_max_in_flight',
  'concurrency.workspace_max_running',
  'concurrency.workspace_weight',
] as const
const ofTheWorkspace: ReadonlySet<string> = new Set(OF_THE_WORKSPACE)

type Named = readonly [PolicySource, PolicyDocument]
type Values = Readonly<Record<string, unknown>>

/**
 * The policy in force and where each of its values came from: each value is the one of the innermost level that
 * names it. Both are frozen. Made once per config and connector or operation, and then shared by its calls.
 * Errors: `policy_violation` when `request` asks for more than it would get without asking.
 */
export function effectivePolicy(
  levels: PolicyLevels & { readonly request?: RequestLimits | undefined },
): EffectivePolicy {
  const named: Named[] = []
  for (const source of ['kind', 'workspace', 'connector', 'operation'] as const) {
    const document = levels[source]
    if (document) named.push([source, document])
  }
  const sources: Record<string, PolicySource> = {}
  const effective = frozen({ policy: layered(SYSTEM_POLICY, named, sources), sources })
  return levels.request ? tightened(effective, levels.request) : effective
}

/** What a policy at `level` makes of the values that it inherits. */
export const overlaid = (
  inherited: Policy,
  document: PolicyDocument,
  level: 'workspace' | 'connector' | 'operation',
): Policy => layered(inherited, [[level, document]], {})

function layered(base: Policy, named: readonly Named[], sources: Record<string, PolicySource>): Policy {
  const sections: Record<string, unknown> = {}
  for (const name of Object.keys(base) as (keyof Policy)[])
    sections[name] =
      name === 'job_retry'
        ? jobRetry(base.job_retry, named, sources)
        : section(name, base[name], named, sources)
  // The one place where sections, each of the shape of the base's, become a policy again.
  return sections as unknown as Policy
}

/** The values of one section. */
function section(
  name: keyof Policy,
  base: object,
  named: readonly Named[],
  sources: Record<string, PolicySource>,
): Values {
  const values: Record<string, unknown> = {}
  for (const [key, inherited] of Object.entries(base)) {
    const path = `${name}.${key}`
    values[key] = inherited
    sources[path] = 'system'
    for (const [source, document] of named) {
      if (source !== 'workspace' && ofTheWorkspace.has(path)) continue
      const value = (document[name] as Values | undefined)?.[key]
      if (value === undefined) continue
      values[key] = decided(path, value)
      sources[path] = source
    }
  }
  if (name === 'fallback' && values.type !== 'static') {
    // What an outer level's `static` answers is not an answer of another type.
    values.output = null
    sources['fallback.output'] = sources['fallback.type'] ?? 'system'
  }
  return values
}

/** What a document may leave open inside a value that it names. */
function decided(path: string, value: unknown): unknown {
  if (path === 'concurrency.workspace_weight') return value ?? SYSTEM_POLICY.concurrency.workspace_weight
  if (!path.startsWith('rate_limits.') || typeof value !== 'object' || value === null) return value
  return { mode: 'enforce', period_ms: 1_000, burst: (value as RateLimitRule).permits, ...value }
}

/** A table and exponential waits exclude each other, so the innermost level that says anything decides which. */
function jobRetry(
  base: Policy['job_retry'],
  named: readonly Named[],
  sources: Record<string, PolicySource>,
): Policy['job_retry'] {
  const innermost = named.findLast(([, document]) => document.job_retry !== undefined)
  const table = innermost?.[1].job_retry?.schedule_ms
  if (innermost && table) {
    sources['job_retry.schedule_ms'] = innermost[0]
    return { schedule_ms: [...table] }
  }
  // Below an inherited table, exponential waits start from the system's.
  const exponential = 'schedule_ms' in base ? (innermost ? SYSTEM_JOB_RETRY : base) : base
  return section('job_retry', exponential, named, sources) as unknown as Policy['job_retry']
}
