import type { Change } from '../src/features/audit/audit.ts'
import type { Payloads } from '../src/features/payloads/payloads.ts'
import { gapCheckFaults } from '../src/features/webhook-gaps/webhook-gaps.ts'
import {
  createRoute,
  createRouteDirectory,
  ROUTE_DEFAULTS,
  type RouteDirectory,
  type RouteSettings,
  type WebhookRoute,
} from '../src/features/webhook-routes/webhook-routes.ts'
import type { ProviderTools } from '../src/features/webhooks/provider.ts'
import {
  type AcceptEvents,
  type AcceptWebhook,
  createEventAcceptor,
  createIntake,
  createWebhookAcceptor,
  createWebhookMatcher,
  type KeepInQuarantine,
  type MatchWebhook,
  providerFaults,
  type RefusedWebhook,
} from '../src/features/webhooks/webhooks.ts'
import { createWorkspaceDirectory, type WorkspaceDirectory } from '../src/features/workspaces/workspaces.ts'
import { newId } from '../src/platform/ids.ts'
import { Secret } from '../src/platform/secret.ts'
import { Problem } from '../src/problems.ts'
import type { LaneKey } from '../src/queue/job.ts'
import type { TestPlatform } from './database.ts'
import { testPayloads } from './payload-store.ts'

export interface WebhookHub {
  readonly payloads: Payloads
  readonly accept: AcceptWebhook
  readonly acceptEvents: AcceptEvents
  readonly match: MatchWebhook
  readonly routes: RouteDirectory
  readonly workspaces: WorkspaceDirectory
  /** Lanes that the acceptor gave a wake-up for. */
  readonly hints: LaneKey[]
  /** What the acceptor gave to the quarantine. */
  readonly quarantined: RefusedWebhook[]
  /** Values of secret refs by `<tenant id>/<name>`. */
  readonly secrets: Map<string, string | Secret>
  /** Connectors of the active config by `<tenant id>/<name>`. */
  readonly connectors: Map<string, { lane: number; configVersion: number }>
  workspace(slug: string): Promise<string>
  /** A route with a secret of its own: `secrets` hold the value under the first secret ref. */
  route(
    tenantId: string,
    settings: Partial<RouteSettings> & { readonly secret: string },
  ): Promise<WebhookRoute>
  /** Numbers of stored rows over all workspaces. */
  stored(): Promise<Record<string, number>>
  query<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>
  close(): Promise<void>
}

const testChange: Change = {
  actor: 'svc:test',
  reason: 'for the test',
  call: { requestId: 'r', correlationId: 'c', traceId: '0'.repeat(32), traceparent: '' },
}

const TABLES = ['webhook_inbox', 'webhook_payload', 'webhook_dedupe', 'job', 'job_ready', 'event']

/** Webhook ingress over a real database, without processes; secrets and connectors are what the test puts there. */
export function webhookHub(
  platform: TestPlatform,
  environment: 'dev' | 'prod' = 'dev',
  /** Instead of the values that the test puts into `secrets`. */
  resolveSecret?: (tenantId: string, name: string) => Promise<Secret>,
  /** Absent: `quarantined` holds what is given to it. */
  quarantine?: KeepInQuarantine,
  tools: ProviderTools = { fetch: () => Promise.reject(new Error('nothing is fetched')) },
): WebhookHub {
  const { db } = platform
  const secrets: WebhookHub['secrets'] = new Map()
  const connectors: WebhookHub['connectors'] = new Map()
  const hints: LaneKey[] = []
  const quarantined: RefusedWebhook[] = []
  const workspaces = createWorkspaceDirectory({ ...platform, environment })
  const routes = createRouteDirectory(platform)
  const large = testPayloads(platform, { inlineLimitBytes: 65_536 })
  const intake = createIntake({
    db,
    wakeUp: { hint: (lanes) => void hints.push(...lanes) },
    payloads: large.payloads,
  })
  const query: WebhookHub['query'] = async <Row extends object>(
    text: string,
    values: readonly unknown[] = [],
  ) => (await platform.owner.execute<Row>({ name: '', text }, values)).rows
  const resolveHeld = async (tenantId: string, name: string): Promise<Secret> => {
    const value = secrets.get(`${tenantId}/${name}`)
    if (value === undefined) throw new Problem('secret_unresolved', 'The secret ref has no value.')
    return typeof value === 'string' ? new Secret(value) : value
  }
  const acceptEvents = createEventAcceptor({
    platform,
    workspaces,
    intake,
    activeConnector: async (tenantId, name) => connectors.get(`${tenantId}/${name}`),
  })
  const matching = {
    ...{ routes, workspaces, resolveSecret: resolveSecret ?? resolveHeld, livemode: environment === 'prod' },
    tools,
  }
  return {
    payloads: large.payloads,
    secrets,
    connectors,
    hints,
    quarantined,
    query,
    routes,
    workspaces,
    acceptEvents,
    match: createWebhookMatcher({ ...platform, ...matching }).match,
    accept: createWebhookAcceptor({
      ...{ platform, acceptEvents, ...matching },
      quarantine:
        quarantine ??
        (async (refused) => {
          quarantined.push(refused)
          return true
        }),
    }),
    workspace: async (slug) => {
      const id = newId()
      const ofEnvironment = slug.endsWith('-prod') ? 'prod' : 'dev'
      await query('insert into workspace (id, slug, name, environment) values ($1, $2, $2, $3)', [
        id,
        slug,
        ofEnvironment,
      ])
      connectors.set(`${id}/product`, { lane: 7, configVersion: 3 })
      return id
    },
    route: async (tenantId, { secret, ...settings }) => {
      const ref = `secret-${newId()}`
      secrets.set(`${tenantId}/${ref}`, secret)
      return createRoute(
        {
          db,
          checks: {
            providerFaults,
            gapFaults: gapCheckFaults,
            connectorKind: async () => 'callback',
            secretNames: async () => new Set([ref, ...(settings.secretRefs ?? [])]),
            workspaces,
          },
        },
        tenantId,
        {
          ...ROUTE_DEFAULTS,
          provider: 'stripe',
          livemode: environment === 'prod',
          connector: 'product',
          ...settings,
          secretRefs: [ref, ...(settings.secretRefs ?? [])],
        },
        testChange,
      )
    },
    stored: async () => {
      const counts = TABLES.map((name) => `(select count(*) from ${name}) as ${name}`)
      const [row] = await query<Record<string, number>>(`select ${counts.join(', ')}`)
      return row ?? {}
    },
    close: async () => {
      await intake.close()
      await large.remove()
      workspaces.close()
      await routes.close()
    },
  }
}
