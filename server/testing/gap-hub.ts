import { createExecutor, createRequestLog } from '../src/features/execute/execute.ts'
import {
  createGapDetector,
  type GapDetector,
  type GapDetectorDeps,
} from '../src/features/webhook-gaps/gap-detector.ts'
import {
  createRouteDirectory,
  type GapCheck,
  getRoute,
  ROUTE_DEFAULTS,
  type RouteSettings,
  type WebhookRoute,
} from '../src/features/webhook-routes/webhook-routes.ts'
import {
  type AcceptEvents,
  createEventAcceptor,
  createIntake,
  eventToTake,
  findWebhookProvider,
  readWebhook,
} from '../src/features/webhooks/webhooks.ts'
import { newId } from '../src/platform/ids.ts'
import { createMetrics } from '../src/platform/metrics.ts'
import { type CallingHub, callingHub } from './calling-hub.ts'
import { GITHUB_OPERATIONS } from './event-lists.ts'
import { executionKeys } from './execution-keys.ts'
import { testPayloads } from './payload-store.ts'
import { CHANGE } from './tenant-access.ts'
import { UNLIMITED } from './unlimited.ts'

/** A hub whose workspace has routes that are held against the list of a provider, which is `hub.upstream`. */
export interface GapHub {
  readonly hub: CallingHub
  /** One more worker; one whose statement of this name fails, when there is one. */
  detector(timing?: GapDetectorDeps['timing'], failing?: string): GapDetector
  /** A route as old as the tests need it. */
  route(settings: Partial<RouteSettings>, check: Partial<GapCheck>): Promise<WebhookRoute>
  /** Takes an event in as if the provider had sent it. */
  arrive(route: WebhookRoute, body: object): Promise<void>
  /** Makes every check due, whatever it waits for. */
  allDue(): Promise<void>
  close(): Promise<void>
}

export async function gapHub(): Promise<GapHub> {
  const hub = await callingHub('orchestrator-control')
  const { database, activeConfigs, directory } = hub
  const { db, platform } = database
  const requestLog = createRequestLog(platform)
  const keys = executionKeys(platform)
  const executor = createExecutor({ ...hub, platform, requestLog, keys })
  const routes = createRouteDirectory(platform)
  const large = testPayloads(platform, { inlineLimitBytes: 65_536 })
  const intake = createIntake({ db, wakeUp: { hint: () => undefined }, payloads: large.payloads })
  const acceptEvents: AcceptEvents = createEventAcceptor({
    platform: { ...platform, metrics: createMetrics('test', false) },
    workspaces: directory,
    intake,
    activeConnector: async (tenantId, name) => {
      const active = (await activeConfigs.get(tenantId, [name])).connectors.get(name)
      return active && { lane: active.connector.lane, configVersion: active.configVersion }
    },
  })
  const settings = { base_url: hub.upstream.url }
  await hub.configure({
    policies: { default: { ...UNLIMITED, retry: { max_attempts: 2, base_ms: 1, cap_ms: 5 } } },
    connectors: {
      product: {
        kind: 'callback',
        settings: { url: hub.upstream.url },
        secrets: { signing_secret: 'signing' },
      },
      stripe: { kind: 'stripe', settings: { mode: 'test', ...settings }, secrets: { api_key: 'key' } },
      github: { kind: 'http', settings: { ...settings, operations: GITHUB_OPERATIONS } },
    },
  })
  return {
    hub,
    detector: (timing, failing) =>
      createGapDetector({
        platform: {
          ...{ ...platform, metrics: createMetrics('test', false) },
          db: {
            ...db,
            execute: (statement, values) =>
              statement.name === failing
                ? Promise.reject(new Error(`${statement.name} fails`))
                : db.execute(statement, values),
          },
        },
        executor,
        routes,
        workspaces: directory,
        acceptEvents,
        timing: { graceMs: 60_000, ...timing },
      }),
    route: async (given, check) => {
      const id = newId()
      const settings = {
        ...{ ...ROUTE_DEFAULTS, provider: 'stripe', account: null, livemode: false, connector: 'product' },
        ...given,
      }
      const gapCheck = { connector: 'stripe', pull: 'manual', everySeconds: 3_600, settings: {}, ...check }
      await hub.query(
        `insert into webhook_route (tenant_id, id, provider, account, livemode, connector, secret_refs, queue, event_types,
           created_at, created_by, gap_check)
         values ($1, $2, $3, $4, $5, $6, '{signing}', 'webhook', $7, now() - interval '10 days', 'svc:test', $8)`,
        [
          ...[hub.tenantId, id, settings.provider, settings.account, settings.livemode, settings.connector],
          settings.eventTypes,
          JSON.stringify({
            ...{ connector: gapCheck.connector, pull: gapCheck.pull, settings: gapCheck.settings },
            every_seconds: gapCheck.everySeconds,
          }),
        ],
      )
      return getRoute(db, hub.tenantId, id)
    },
    arrive: async (route, body) => {
      const provider = findWebhookProvider(route.provider)
      if (!provider) throw new Error(`there is no provider ${route.provider}`)
      const raw = Buffer.from(JSON.stringify(body))
      const request = readWebhook(
        { provider, routeId: route.id, raw, headers: {}, url: undefined },
        Date.now(),
      )
      const [event] = provider.events(request.parsed, request.signed, {})
      if (!event) throw new Error('it is no event')
      const evidence = { secretRef: 'signing', secretFingerprint: '0'.repeat(12) }
      await acceptEvents([
        eventToTake(request, { event, route, evidence }, { call: CHANGE.call, source: 'received' }),
      ])
    },
    allDue: async () => {
      await hub.query(`update webhook_gap_check set due_at = now()`)
    },
    close: async () => {
      await intake.close()
      await large.remove()
      await routes.close()
      await keys.close()
      await requestLog.close()
      await hub.close()
    },
  }
}
