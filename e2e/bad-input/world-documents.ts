/** What stands in a world: its config, and a bundle of it. */

/** Names of its objects, each for one use. */
export type WorldNames = Readonly<
  Record<'connector' | 'callback' | 'policy' | 'secret' | 'spare' | 'unused', string>
>

/**
 * Everything an operation may hold, so that every field of its schema has a value to spoil. In few bytes: a list
 * of more connectors than are allowed must still fit into a body.
 */
const everyOperationField = {
  title: 'Echo',
  description: 'Does it live?',
  method: 'GET',
  path: '/health',
  query: { note: '{{input.note}}' },
  headers: { 'x-note': '{{input.note}}' },
  input: {
    type: 'object',
    properties: {
      note: { type: 'string', maxLength: 100 },
      amount: { type: 'integer', minimum: 0, maximum: 1_000 },
      flags: { type: 'array', maxItems: 3, items: { type: 'boolean' } },
    },
    required: ['note'],
    additionalProperties: false,
  },
  output: { type: 'object', properties: { status: { type: 'string' } } },
  response: { status: '{{response.body.status}}' },
  success_statuses: [200],
  not_done_statuses: [423],
  retryable_statuses: [409],
  safe: true,
  idempotent: true,
  idempotency_key_header: 'Idempotency-Key',
}

const OPERATION_POLICY = 'of-an-operation'

/** A connector with a value in every field. */
export const httpConnector = (url: string, policy: string, secret: string) => ({
  kind: 'http',
  title: 'The hub',
  description: 'Calls the hub.',
  policy,
  operation_policies: { echo: OPERATION_POLICY },
  settings: {
    base_url: url,
    auth: { type: 'header', header: 'x-api-key' },
    headers: { 'x-from': 'us' },
    deadline_header: 'x-left',
    health: { method: 'GET', path: '/health' },
    operations: { echo: everyOperationField },
  },
  secrets: { token: secret },
})

export const INPUT = { note: 'hello', amount: 3, flags: [true] }

/** The matrix is about requests, not about how many of them. */
const ample = { mode: 'enforce', permits: 100_000, period_ms: 1_000, burst: 100_000 }

export const fullPolicy = {
  timeouts: { connect_ms: 1_000, attempt_ms: 2_000, total_ms: 4_000 },
  retry: { max_attempts: 2, base_ms: 10, factor: 2, cap_ms: 100 },
  retry_budget: { mode: 'shadow', tokens: 500, max_ratio: 0.5, min_concurrent: 3 },
  breaker: {
    mode: 'shadow',
    consecutive_failures: 5,
    failure_rate: 0.5,
    slow_rate: 0.5,
    slow_call_ms: 1_500,
    min_calls: 20,
    window_ms: 30_000,
    open_ms: 1_000,
    open_cap_ms: 10_000,
    probes: 5,
    close_rate: 0.5,
  },
  rate_limits: { connector: ample, operation: ample, caller: ample, cost: 1 },
  bulkhead: { mode: 'enforce', max_in_flight: 1_000, max_waiting: 1_000, wait_ms: 1_000 },
  load_shedding: { mode: 'shadow', priority: 'default' },
  fallback: { type: 'none', max_stale_ms: 60_000, output: null },
  cache: { ttl_ms: 0 },
  coalesce: { enabled: false },
  hedge: { enabled: false, delay_ms: 200 },
  idempotency: { required: false, keep_ms: 3_600_000 },
  job_retry: { max_attempts: 3, base_ms: 1_000, factor: 2, cap_ms: 10_000 },
  job_wait: { upstream_ms: 3_600_000 },
  concurrency: { max_running: 10 },
}

/** A policy `default` with a value in every field: what is of the workspace can only stand there. */
export const workspacePolicy = {
  ...fullPolicy,
  rate_limits: { ...fullPolicy.rate_limits, workspace: ample },
  bulkhead: { ...fullPolicy.bulkhead, workspace_mode: 'enforce', workspace_max_in_flight: 10_000 },
  concurrency: { ...fullPolicy.concurrency, workspace_max_running: null, workspace_weight: null },
}

/** The other way to say when a job is tried again; it excludes the fields of the first. */
export const tabledPolicy = { job_retry: { schedule_ms: [0, 1_000] } }

export const configDocument = (world: { readonly names: WorldNames }, url: string) => ({
  policies: {
    default: workspacePolicy,
    [world.names.policy]: fullPolicy,
    [world.names.spare]: tabledPolicy,
    [OPERATION_POLICY]: { retry: { max_attempts: 2 } },
  },
  connectors: {
    [world.names.connector]: httpConnector(url, world.names.policy, world.names.secret),
    [world.names.callback]: {
      kind: 'callback',
      settings: { url: `${url}/health` },
      secrets: { signing_secret: world.names.secret },
    },
    [world.names.spare]: {
      kind: 'callback',
      settings: { url },
      secrets: { signing_secret: world.names.secret },
    },
  },
})

/** What the route of the world says besides. No event of the tests has a value at the ordering key: none waits. */
export const routeParts = ({ secret, connector }: Pick<WorldNames, 'secret' | 'connector'>) => ({
  secret_windows: [
    { secret_ref: secret, valid_from: '2026-01-01T00:00:00.000Z', valid_until: '2036-01-01T00:00:00.000Z' },
  ],
  settings: {},
  ordering: { key: '/data/object/of_nobody', limit_ms: 60_000 },
  gap_check: { connector, pull: 'manual', every_seconds: 600, settings: {} },
})

/** Everything of the world that a bundle holds, as it is made. */
export const bundleDocument = (
  { names, slug }: { readonly names: WorldNames; readonly slug: string },
  url: string,
) => ({
  format: 1,
  exported_at: '2026-01-31T09:30:00Z',
  workspace: { slug, environment: 'dev' },
  config: configDocument({ names }, url),
  secret_refs: [names.secret, names.spare, names.unused].map((name) => ({ name, ref: `file://${name}` })),
  webhook_routes: [
    {
      provider: 'stripe',
      account: null,
      livemode: false,
      connector: names.callback,
      secret_refs: [names.secret],
      queue: 'webhook',
      event_types: ['*'],
      emit_on_delivery: [] as object[],
      ...routeParts(names),
    },
  ],
})
