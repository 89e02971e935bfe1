/** What a new workspace begins with: policies, quotas, and a note for whoever runs it. Constants of the code. */
import { Problem } from '../../problems.ts'
import type { PolicyDocument } from '../policies/policies.ts'
import type { Quotas } from './quota-limits.ts'
import type { Environment } from './workspaces.sql.ts'

export interface WorkspaceTemplate {
  readonly name: string
  /** Null = for both. */
  readonly environment: Environment | null
  readonly description: string
  readonly notes: readonly string[]
  /** The policies of config version 1; null = the workspace begins without a config. */
  readonly policies: Readonly<Record<string, PolicyDocument>> | null
  /** What differs from the defaults. */
  readonly quotas: Partial<Quotas>
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Upstreams that take their time: reports, language models, old back offices. */
const PATIENT: PolicyDocument = {
  timeouts: { connect_ms: 5_000, attempt_ms: 45_000, total_ms: 55_000 },
  retry: { max_attempts: 2 },
  breaker: { slow_call_ms: 40_000 },
}

const DEV: Readonly<Record<string, PolicyDocument>> = {
  default: {
    timeouts: { connect_ms: 3_000, attempt_ms: 10_000, total_ms: 15_000 },
    retry: { max_attempts: 3, base_ms: 200, factor: 2, cap_ms: 2_000 },
    breaker: {
      consecutive_failures: 5,
      failure_rate: 0.5,
      min_calls: 10,
      window_ms: 30_000,
      open_ms: 10_000,
    },
    rate_limits: {
      workspace: { permits: 50, period_ms: 1_000, burst: 100 },
      connector: { permits: 10, period_ms: 1_000, burst: 20 },
    },
    bulkhead: { max_in_flight: 20, max_waiting: 20, workspace_max_in_flight: 50 },
    // Short, so that a dead letter is there while whoever broke something still sits at the desk.
    job_retry: { max_attempts: 5, base_ms: 5_000, factor: 2, cap_ms: 5 * MINUTE },
    job_wait: { upstream_ms: HOUR },
    concurrency: { max_running: 10, workspace_max_running: 25 },
  },
  callbacks: {
    // With a total of its own: whoever shortens the default must not find this one at fault.
    timeouts: { attempt_ms: 10_000, total_ms: 15_000 },
    job_retry: { max_attempts: 6, base_ms: 5_000, factor: 3, cap_ms: 10 * MINUTE },
  },
  patient: PATIENT,
}

const PROD: Readonly<Record<string, PolicyDocument>> = {
  default: {
    timeouts: { connect_ms: 2_000, attempt_ms: 8_000, total_ms: 15_000 },
    retry: { max_attempts: 3, base_ms: 250, factor: 2, cap_ms: 4_000 },
    retry_budget: { mode: 'enforce', max_ratio: 0.1 },
    breaker: {
      mode: 'enforce',
      consecutive_failures: 5,
      failure_rate: 0.4,
      min_calls: 20,
      window_ms: 30_000,
      open_ms: 30_000,
      open_cap_ms: 5 * MINUTE,
    },
    rate_limits: {
      workspace: { mode: 'enforce', permits: 100, period_ms: 1_000, burst: 200 },
      connector: { mode: 'enforce', permits: 10, period_ms: 1_000, burst: 20 },
    },
    bulkhead: {
      mode: 'enforce',
      max_in_flight: 50,
      max_waiting: 50,
      wait_ms: 1_000,
      workspace_max_in_flight: 100,
    },
    idempotency: { required: true, keep_ms: 3 * DAY },
    job_retry: { max_attempts: 10, base_ms: 30_000, factor: 2, cap_ms: HOUR },
    job_wait: { upstream_ms: 3 * DAY },
    concurrency: { max_running: 25, workspace_max_running: 100 },
  },
  // About three days, as Standard Webhooks advises: a product may be down over a weekend.
  callbacks: {
    timeouts: { attempt_ms: 15_000, total_ms: 20_000 },
    job_retry: { max_attempts: 12, base_ms: MINUTE, factor: 3, cap_ms: 12 * HOUR },
  },
  patient: PATIENT,
}

export const TEMPLATES: readonly WorkspaceTemplate[] = [
  {
    name: 'standard-dev',
    environment: 'dev',
    description: 'For building a product: moderate limits, and failures that show soon.',
    notes: [
      'Jobs give up after minutes, not days, so that dead letters can be tried out.',
      'Name the policy `callbacks` in connectors of kind callback, `patient` in those to slow upstreams.',
    ],
    policies: DEV,
    quotas: {
      connectors: 100,
      webhook_routes: 100,
      secret_refs: 300,
      service_identities: 50,
      jobs_waiting: 100_000,
    },
  },
  {
    name: 'standard-prod',
    environment: 'prod',
    description: 'For customers: everything enforced, few repetitions at once, long patience of jobs.',
    notes: [
      'Every guard is enforced. Watch a new limit with `mode: shadow` before it refuses anybody.',
      'Operations with effects need an idempotency key; keys are kept for three days.',
      'Name the policy `callbacks` in connectors of kind callback, `patient` in those to slow upstreams.',
    ],
    policies: PROD,
    quotas: {},
  },
  {
    name: 'empty',
    environment: null,
    description: 'No config: for a workspace whose config comes from a bundle or from elsewhere.',
    notes: ['Until a config is activated, nothing can be called.'],
    policies: null,
    quotas: {},
  },
]

const fits = (environment: Environment) => (template: WorkspaceTemplate) =>
  template.environment === null || template.environment === environment

export const templatesFor = (environment: Environment): WorkspaceTemplate[] =>
  TEMPLATES.filter(fits(environment))

/** The one that is taken when nobody names one. */
export const standardTemplate = (environment: Environment): string => `standard-${environment}`

/** Errors: `validation_error` for a name that this environment does not have. */
export function templateOf(
  environment: Environment,
  name = standardTemplate(environment),
): WorkspaceTemplate {
  const there = templatesFor(environment)
  const found = there.find((template) => template.name === name)
  if (found) return found
  const elsewhere = TEMPLATES.some((template) => template.name === name)
  const message = `${elsewhere ? 'is a template of another environment' : 'is no template'}; there are: ${there.map((template) => template.name).join(', ')}`
  throw new Problem('validation_error', `/body/template ${message}.`, {
    details: [{ path: '/body/template', message }],
  })
}
