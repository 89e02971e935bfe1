/** A workspace with one object of every kind, made through the API like anybody's, and the tokens for it. */
import { newId } from '../../server/src/platform/ids.ts'
import type { Plane } from '../../server/src/processes/operator-token.ts'
import { WEBHOOK_SAMPLES, type WebhookSample } from '../../server/testing/webhook-samples.ts'
import type { BadInputHub, ServerName } from './hub.ts'
import type { Answer, Wire } from './wire.ts'

export const REASON = 'the bad-input matrix'

export interface World {
  readonly slug: string
  readonly tenantId: string
  /** Every scope of the plane. */
  readonly tokens: Readonly<Record<Plane, string>>
  /** The platform role, for the routes that ask for it. */
  readonly admin: string
  /** Names that no other workspace has. */
  readonly names: Readonly<
    Record<'connector' | 'callback' | 'policy' | 'secret' | 'spare' | 'unused', string>
  >
  readonly configVersion: number
  readonly routeId: string
  readonly inboxId: string
  readonly identityId: string
  readonly issuerId: string
  readonly clientSecret: string
  readonly jobs: readonly string[]
  readonly deadJob: string
  readonly unknownExecution: string
  /** Plans to replay it. */
  readonly plans: readonly string[]
  readonly stripeSecret: string
  /** A run of the onboarding checklist that has ended: nobody answers where control looks for the other processes. */
  readonly verificationId: string
  /** Another workspace, suspended: for the routes of the platform admin. */
  readonly suspendedId: string
}

export const stripe = WEBHOOK_SAMPLES.stripe as WebhookSample

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

export const configDocument = (world: Pick<World, 'names'>, url: string) => ({
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

/** Everything of the world that a bundle holds, as it is made. */
export const bundleDocument = ({ names, slug }: Pick<World, 'names' | 'slug'>, url: string) => ({
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
    },
  ],
})

export const json = (method: string, path: string, authorization: string, body?: unknown): Wire => ({
  method,
  path,
  headers: {
    authorization,
    ...(body !== undefined && { 'content-type': 'application/json' }),
    // What is put shall be there, whatever was there before.
    ...((method === 'PUT' || path === '/configs/activate') && { 'if-match': '*' }),
  },
  ...(body !== undefined && { body: JSON.stringify(body) }),
})

/** The bytes of a Stripe event and the header that signs them. */
export function signedEvent(bytes: Buffer, secret: string, atMs = Date.now()) {
  return { bytes, headers: { [stripe.header]: stripe.sign(bytes, [secret], atMs) } }
}

function parsed<T>(what: string, { status, text }: Answer): T {
  if (status < 200 || status > 299) throw new Error(`${what} answered ${status}: ${text}`)
  return JSON.parse(text) as T
}

/** `configVersions`: how many versions the config gets before the active one, so that numbers differ by workspace. */
export async function makeWorld(hub: BadInputHub, name: string, configVersions: number): Promise<World> {
  const slug = `${name}-dev`
  const admin = await hub.token({ plane: 'control', platformAdmin: true })
  const post = async <T>(server: ServerName, path: string, token: string, body: unknown): Promise<T> =>
    parsed<T>(path, await hub.send(server, json('POST', path, token, body)))
  const put = async (path: string, token: string, body: unknown): Promise<void> => {
    parsed(path, await hub.send('control', json('PUT', path, token, body)))
  }
  const workspace = (of: string) =>
    post<{ id: string }>('control', '/workspaces', admin, {
      slug: of,
      name: of,
      template: 'empty',
      reason: REASON,
    })

  const { id: tenantId } = await workspace(slug)
  const { id: suspendedId } = await workspace(`${name}-asleep-dev`)
  await post('control', `/workspaces/${suspendedId}/suspend`, admin, { reason: REASON })
  const tokens = {
    control: await hub.token({ plane: 'control', tenantId }),
    exec: await hub.token({ plane: 'exec', tenantId }),
  }
  const names = {
    connector: `api-of-${name}`,
    callback: `callback-of-${name}`,
    policy: `policy-of-${name}`,
    secret: `secret-of-${name}`,
    spare: `spare-of-${name}`,
    unused: `unused-of-${name}`,
  }
  const stripeSecret = `whsec_${newId()}`
  for (const secret of [names.secret, names.spare, names.unused]) {
    await hub.writeSecret(slug, secret, stripeSecret)
    await put(`/secret-refs/${secret}`, tokens.control, { ref: `file://${secret}`, reason: REASON })
  }
  const document = configDocument({ names }, hub.urls.control)
  let version = 0
  for (let count = 0; count < configVersions; count += 1)
    version = (
      await post<{ version: number }>('control', '/configs', tokens.control, { document, reason: REASON })
    ).version
  await post('control', '/configs/activate', tokens.control, { version, reason: REASON })
  const route = await post<{ id: string }>('control', '/webhook-routes', tokens.control, {
    provider: 'stripe',
    livemode: false,
    connector: names.callback,
    secret_refs: [names.secret],
    reason: REASON,
  })
  const identity = await post<{ id: string; client_secret: string }>(
    'control',
    '/identities',
    tokens.control,
    {
      name: `svc:of-${name}`,
      scopes: ['orchestrator.control.read', 'orchestrator.execute'],
      reason: REASON,
    },
  )
  const issuer = await post<{ id: string }>('control', '/trusted-issuers', tokens.control, {
    name: `idp-of-${name}`,
    issuer: `https://idp-of-${name}.test/`,
    jwks_url: `https://idp-of-${name}.test/jwks.json`,
    scopes: ['orchestrator.execute'],
    reason: REASON,
  })
  const jobs: string[] = []
  for (let count = 0; count < 2; count += 1)
    jobs.push(
      (
        await post<{ job_id: string }>('exec', '/jobs', tokens.exec, {
          connector: names.connector,
          operation: 'echo',
          input: INPUT,
          run_at: new Date(Date.now() + 86_400_000).toISOString(),
        })
      ).job_id,
    )
  const event = stripe.body({ id: `evt_of_${name}` })
  const deadJob = await hub.deadJob({ tenantId, connector: names.connector, operation: 'echo', input: INPUT })
  const plans: string[] = []
  for (let count = 0; count < 2; count += 1) {
    const wanted = { action: 'replay', ids: [deadJob] }
    plans.push(
      (await post<{ plan_id: string }>('control', '/dlq/default/plans', tokens.control, wanted)).plan_id,
    )
  }
  const { id: verificationId } = await post<{ id: string }>(
    'control',
    `/workspaces/${tenantId}/verify`,
    tokens.control,
    { reason: REASON },
  )
  const verification = json('GET', `/workspaces/${tenantId}/verify/${verificationId}`, tokens.control)
  for (let state = 'running'; state === 'running'; )
    ({ state } = parsed<{ state: string }>('verification', await hub.send('control', verification)))
  const { bytes, headers } = signedEvent(event, stripeSecret)
  const path = `/webhooks/stripe/${route.id}`
  const taken = await hub.send('ingress', { method: 'POST', path, headers, body: bytes })
  const { inbox_id: inboxId } = parsed<{ inbox_id: string }>('webhook', taken)
  return {
    slug,
    tenantId,
    tokens,
    admin,
    names,
    configVersion: version,
    routeId: route.id,
    inboxId,
    identityId: identity.id,
    issuerId: issuer.id,
    clientSecret: identity.client_secret,
    jobs,
    deadJob,
    unknownExecution: await hub.unknownExecution(tenantId),
    plans,
    stripeSecret,
    verificationId,
    suspendedId,
  }
}
