/**
 * One good request for every operation of every plane: what the matrix spoils, a fault at a time. A new operation
 * needs a line here, with a value in every field of its query and body.
 */
import { stripe } from '../../server/testing/webhook-samples/stripe.ts'
import { AUDIT_REQUESTS } from './audit-requests.ts'
import { bundleRequests } from './bundle-requests.ts'
import { configRequests, openParts } from './config-requests.ts'
import { gapRequests } from './gap-requests.ts'
import type { GoodRequest } from './good-request.ts'
import type { ServerName } from './hub.ts'
import { inboxRequests } from './inbox-requests.ts'
import { execPayloadRequests, payloadRequests } from './payload-requests.ts'
import { peopleRequests } from './people-requests.ts'
import { quarantineRequests } from './quarantine-requests.ts'
import { secretRequests } from './secret-requests.ts'
import type { Schema } from './wire.ts'
import { workspaceRequests } from './workspace-requests.ts'
import { REASON, signedEvent, type World } from './world.ts'
import { httpConnector, INPUT, tabledPolicy, workspacePolicy } from './world-documents.ts'

type Requests = Readonly<Record<string, GoodRequest>>

const NOTHING: GoodRequest = {}
const PAGE: GoodRequest = { query: { limit: '10' } }
const PROBES: Requests = { getHealth: NOTHING, getReadiness: NOTHING, getMetrics: NOTHING }
const reason = { reason: REASON }
const TRACE = 'a'.repeat(32)

/** Filters with a value in each, so that each can be spoilt. */
const eventFilters = ({ names, jobs }: World) => ({
  type: 'job.created',
  connector: names.connector,
  severity: 'info',
  trace_id: TRACE,
  job_id: jobs[0] ?? '',
})

const letterFilter = ({ names }: World) => ({
  connector: names.connector,
  operation: 'echo',
  reason: 'attempts_spent',
  error_class: 'http_5xx',
  fingerprint: '0123456789abcdef',
  dead_after: '2026-01-01T00:00:00Z',
  dead_before: '2036-01-01T00:00:00Z',
})

/** What a route may say beside whose events it takes. Stripe has no settings. */
const routeParts = ({ names }: World) => ({
  secret_windows: [
    { secret_ref: names.spare, valid_from: '2026-01-01T00:00:00Z', valid_until: '2036-01-01T00:00:00Z' },
  ],
  settings: {},
  ordering: { key: '/data/object/id', limit_ms: 60_000 },
  gap_check: { connector: names.connector, pull: 'manual', every_seconds: 600, settings: {} },
})

/** Values that leave the identity as it is. */
const identityLimits = {
  expires_at: '2036-01-01T00:00:00Z',
  certificate_bound: false,
  certificate_sha256: null,
}

const trustOf = (name: string) => ({
  issuer: `https://${name}.test/`,
  jwks_url: `https://${name}.test/jwks.json`,
  scopes: ['orchestrator.execute'],
  subjects: ['backend'],
})

const deadLetters = (world: World): GoodRequest => ({
  params: { queue: 'default' },
  query: { ...PAGE.query, ...letterFilter(world), bin: 'false' },
})

const jobBody = ({ names }: World) => ({
  connector: names.connector,
  operation: 'echo',
  input: INPUT,
  queue: 'low',
  priority: 2,
  run_at: new Date(Date.now() + 3_600_000).toISOString(),
  expires_at: new Date(Date.now() + 7_200_000).toISOString(),
  callback: { connector: names.callback },
  metadata: { order: '17' },
})

export interface Refinements {
  /** Input schema of the operation `echo`. */
  readonly input: Schema
  /** Settings schemas by connector kind. */
  readonly settings: Readonly<Record<string, Schema>>
}

/**
 * By operationId, in an order in which all of them succeed on a fresh world: what deletes comes last. `hubUrl`
 * is something that connectors may call.
 */
export function goodRequests(
  server: ServerName,
  world: World,
  { input, settings }: Refinements,
  hubUrl: string,
): Requests {
  const { names } = world
  const [firstJob = '', secondJob = ''] = world.jobs
  const [firstPlan = '', secondPlan = ''] = world.plans
  const version = String(world.configVersion)
  const ifMatch = { 'if-match': `"${version}"` }
  const connector = httpConnector(hubUrl, names.policy, names.secret)
  if (server === 'ingress') {
    const { bytes, headers } = signedEvent(stripe.body({ id: `evt_good_${world.slug}` }), world.stripeSecret)
    return {
      ...PROBES,
      receiveWebhook: { params: { provider: 'stripe' }, bytes, headers },
      receiveWebhookOfRoute: { params: { provider: 'stripe', route_id: world.routeId }, bytes, headers },
    }
  }
  if (server === 'exec')
    return {
      ...PROBES,
      execute: {
        headers: { 'idempotency-key': 'a-key' },
        body: {
          connector: names.connector,
          operation: 'echo',
          input: INPUT,
          options: {
            timeout_ms: 2_000,
            max_attempts: 2,
            priority: 'default',
            cost: 1,
            rate_limit_key: 'somebody',
            dry_run: false,
            metadata: { order: '17' },
          },
        },
        refine: { '/input': input },
      },
      createJob: {
        headers: { 'idempotency-key': 'a-key' },
        body: jobBody(world),
        refine: { '/input': input },
      },
      createJobs: {
        headers: { 'idempotency-key': 'a-key-of-many' },
        body: { jobs: [{ ...jobBody(world), idempotency_key: 'an-own-key' }] },
        refine: { '/jobs/0/input': input },
      },
      listJobs: {
        query: { ...PAGE.query, state: 'scheduled', queue: 'default', connector: names.connector },
      },
      ...execPayloadRequests(world),
      getJob: { params: { id: firstJob } },
      cancelJob: { params: { id: firstJob }, body: reason },
      listEvents: { query: { ...PAGE.query, order: 'desc', ...eventFilters(world) } },
      streamEvents: { query: eventFilters(world) },
      getJwks: NOTHING,
      issueToken: NOTHING,
    }
  return {
    ...PROBES,
    getStatus: NOTHING,
    verifyWorkspace: {
      params: { id: world.tenantId },
      body: { target_url: 'http://127.0.0.1:1', ...reason },
    },
    getVerification: { params: { id: world.tenantId, run: world.verificationId } },
    ...workspaceRequests(world),
    ...peopleRequests(world),
    createIdentity: {
      body: {
        name: `svc:fresh-${world.slug}`,
        scopes: ['orchestrator.execute'],
        ...identityLimits,
        ...reason,
      },
    },
    listIdentities: PAGE,
    getIdentity: { params: { id: world.identityId } },
    changeIdentity: {
      params: { id: world.identityId },
      body: { scopes: ['orchestrator.control.read', 'orchestrator.execute'], ...identityLimits, ...reason },
    },
    rotateIdentitySecret: {
      params: { id: world.identityId },
      body: { overlap_seconds: 60, end_tokens: false, ...reason },
    },
    trustIssuer: { body: { name: `fresh-${world.slug}`, ...trustOf(`fresh-${world.slug}`), ...reason } },
    listTrustedIssuers: PAGE,
    getTrustedIssuer: { params: { id: world.issuerId } },
    changeTrustedIssuer: { params: { id: world.issuerId }, body: { ...trustOf(world.slug), ...reason } },
    distrustIssuer: { params: { id: world.issuerId }, query: { ...reason } },
    issueToken: NOTHING,
    endAllTokens: { authorization: world.ending, body: reason },
    revokeIdentity: { params: { id: world.identityId }, body: reason },
    getJwks: NOTHING,
    ...configRequests(world, hubUrl, settings.http ?? {}),
    // While secret refs and routes are as they were made.
    ...bundleRequests(world, hubUrl),
    ...secretRequests(world),
    listWebhookRoutes: { query: { ...PAGE.query, provider: 'stripe' } },
    getWebhookRoute: { params: { id: world.routeId } },
    listDeadLetters: deadLetters(world),
    listDeadLetterGroups: deadLetters(world),
    planDeadLetters: {
      params: { queue: 'default' },
      body: { action: 'replay', ids: [world.deadJob], rate_per_second: 5, new_effect: false },
      otherBody: { action: 'purge', filter: letterFilter(world) },
    },
    listDeadLetterPlans: { query: { ...PAGE.query, state: 'planned' } },
    getDeadLetterPlan: { params: { id: firstPlan } },
    abortDeadLetterPlan: { params: { id: firstPlan }, body: reason },
    commitDeadLetterPlan: { params: { id: secondPlan }, body: reason },
    ...inboxRequests(world),
    ...quarantineRequests(world),
    ...gapRequests(world),
    listJobs: { query: { ...PAGE.query, state: 'scheduled', queue: 'default', connector: names.connector } },
    ...payloadRequests(world),
    getJob: { params: { id: secondJob } },
    cancelJob: { params: { id: secondJob }, body: reason },
    listExecutions: { query: { ...PAGE.query, state: 'unknown', connector: names.connector } },
    getExecution: { params: { id: world.unknownExecution } },
    settleExecution: {
      params: { id: world.unknownExecution },
      body: { outcome: 'done', output: { id: 1 }, ...reason },
      open: ['/output'],
    },
    listQueues: NOTHING,
    listBlockedConnectors: PAGE,
    pauseQueue: { params: { queue: 'low' }, body: reason },
    resumeQueue: { params: { queue: 'low' }, body: reason },
    pauseConnector: { params: { name: names.connector }, body: reason },
    resumeConnector: { params: { name: names.connector }, body: reason },
    pauseQueues: { body: reason },
    resumeQueues: { body: reason },
    listBreakers: PAGE,
    getBreaker: { params: { connector: names.connector } },
    forceBreaker: {
      params: { connector: names.connector },
      body: { state: 'closed', for_ms: 60_000, ...reason },
    },
    releaseBreaker: { params: { connector: names.connector }, body: reason },
    listEvents: { query: { ...PAGE.query, order: 'desc', ...eventFilters(world) } },
    streamEvents: { query: eventFilters(world) },
    ...AUDIT_REQUESTS,
    createWebhookRoute: {
      body: {
        provider: 'stripe',
        livemode: false,
        connector: names.callback,
        secret_refs: [names.spare],
        account: `acct_of_${world.slug}`,
        queue: 'low',
        event_types: ['invoice.*'],
        emit_on_delivery: [{ event_types: ['invoice.paid'], event: 'billing_state_updated' }],
        ...routeParts(world),
        ...reason,
      },
      open: ['/gap_check/settings'],
    },
    changeWebhookRoute: {
      params: { id: world.routeId },
      headers: { 'if-match': '*' },
      body: {
        connector: names.callback,
        secret_refs: [names.secret, names.spare],
        queue: 'webhook',
        event_types: ['*'],
        emit_on_delivery: [],
        ...routeParts(world),
        ...reason,
      },
      open: ['/gap_check/settings'],
    },
    pauseWebhookRoute: { params: { id: world.routeId }, body: reason },
    resumeWebhookRoute: { params: { id: world.routeId }, body: reason },
    putPolicy: {
      params: { name: 'default' },
      headers: ifMatch,
      body: { policy: { ...workspacePolicy, cache: { ttl_ms: 0 } }, ...reason },
      otherBody: { policy: tabledPolicy, ...reason },
    },
    // From here on the active version is another one.
    // The versions before the active one are the same document.
    rollBackConfig: { headers: { 'if-match': '*' }, body: { to: world.configVersion - 1, ...reason } },
    putConnector: {
      params: { name: names.connector },
      headers: { 'if-match': '*' },
      body: { connector, ...reason },
      refine: { '/connector/settings': settings.http ?? {} },
      open: openParts('/connector'),
    },
    deleteConnector: { params: { name: names.spare }, query: reason },
    deletePolicy: { params: { name: names.spare }, query: reason },
    deleteWebhookRoute: { params: { id: world.routeId }, query: reason },
  }
}
