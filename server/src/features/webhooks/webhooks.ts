/**
 * Webhook ingress: from the bytes of a provider to a delivery job.
 *
 * Invariants. A 2xx means that payload, inbox row, event and job are committed, together. Per route an event is
 * taken once, however many copies come and whenever (the dedupe key outlives the provider's resends); the
 * others answer with the first one's inbox id. An event reaches a workspace only if a secret of exactly one
 * route verifies it and the account and livemode of the payload are the route's. Everything else is refused
 * with one and the same answer, and nothing of it is stored. A fault of ours answers 503, so that the provider sends again.
 *
 * An inbox row is `accepted` or `ignored` (its type fits no filter of the route) and never changes; how the delivery
 * goes is the state of its job.
 */
import type { RetentionRule } from '../../platform/db/retention.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { parseJson } from '../../platform/http/json-body.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import type { NewJob } from '../../queue/job.ts'
import { idsOfDay } from '../../queue/job-history.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import { type RouteDirectory, routeDelivers, type WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import { deliveryJob } from './delivery.ts'
import {
  type Match,
  type MatchDeps,
  matchRoute,
  type RefusalCause,
  type SignedRequest,
} from './match-route.ts'
import type { ProviderEvent } from './provider.ts'
import { PROVIDERS } from './providers/registry.ts'
import { type AcceptedWebhook, sha256, takeWebhook, type WebhookRequest } from './take-webhook.ts'
import { avoidLoops, deleteExpired, findUndelivered } from './webhooks.sql.ts'

export const isWebhookProvider = (name: string): boolean => PROVIDERS.has(name)

export interface WebhookDeps extends Omit<MatchDeps, 'log'> {
  readonly platform: Pick<Platform, 'db' | 'clock' | 'log' | 'metrics'>
  readonly routes: RouteDirectory
  /** The connector's lane and the version of the active config; undefined = the active config has no such connector. */
  readonly activeConnector: (
    tenantId: string,
    connector: string,
  ) => Promise<{ readonly lane: number; readonly configVersion: number } | undefined>
  readonly wakeUp: Pick<WakeUp, 'hint'>
}

/**
 * Errors: `signature_invalid` for every refusal, `malformed_body` and `validation_error` for a body that is no
 * event of the provider, `webhook_unavailable` and `database_unavailable` when the provider should send again.
 */
export type AcceptWebhook = (request: WebhookRequest) => Promise<AcceptedWebhook>

/** The one answer to everything that is not verified beyond doubt: it tells nobody which accounts exist. */
const refusal = (): Problem =>
  new Problem('signature_invalid', 'No webhook route accepts this request with this signature.')

const tryLater = (cause?: unknown): Problem =>
  new Problem('webhook_unavailable', 'The hub has stored nothing; send the event again.', {
    retryAfterSeconds: 30,
    cause,
  })

export function createWebhookAcceptor(deps: WebhookDeps): AcceptWebhook {
  const { db, clock, log, metrics } = deps.platform
  const accepted = metrics.counter('webhooks_accepted_total', 'Webhooks answered with 2xx', [
    'provider',
    'result',
  ])
  const refused = metrics.counter('webhooks_refused_total', 'Webhooks that no route accepted', [
    'provider',
    'cause',
  ])
  const matching: MatchDeps = { ...deps, log }

  const refuse = (
    request: WebhookRequest,
    event: ProviderEvent,
    cause: RefusalCause,
    route?: WebhookRoute,
  ) => {
    refused.inc({ provider: request.provider.name, cause })
    log.warn(
      {
        cause,
        provider: request.provider.name,
        account: event.account,
        livemode: event.livemode,
        event_id: event.eventId,
        event_type: event.type,
        body_sha256: sha256(request.raw).toString('hex'),
        ...(route && { tenant_id: route.tenantId, route_id: route.id }),
        request_id: request.call.requestId,
        trace_id: request.call.traceId,
      },
      'a webhook was refused',
    )
    return refusal()
  }

  /** A refusal counts only after a look at the database: the route may be newer than the memory. */
  const match = async (request: SignedRequest, event: ProviderEvent): Promise<Match> => {
    const known = await deps.routes.current()
    const found = await matchRoute(matching, known, request, event)
    if (found.found) return found
    const newest = await deps.routes.refresh()
    return newest === known ? found : matchRoute(matching, newest, request, event)
  }

  return async (request) => {
    const payload = parseJson(request.raw)
    const event = request.provider.event(payload)
    try {
      const found = await match({ ...request, nowMs: clock.now() }, event)
      if (!found.found) {
        if (found.cause === 'secret_away') throw tryLater(new Error('the store of a signing secret is away'))
        throw refuse(request, event, found.cause, found.route)
      }
      const { route } = found
      const connector = await deps.activeConnector(route.tenantId, route.connector)
      const workspace = await deps.workspaces.find(route.tenantId)
      // It does not come back for its webhooks, as far as anybody outside can tell.
      if (workspace?.status === 'deleting') throw refuse(request, event, 'unknown_account')
      if (!connector || workspace?.status !== 'active')
        throw tryLater(new Error(connector ? 'the workspace is not active' : 'the connector is not active'))

      const inboxId = newId()
      const delivery: NewJob | undefined = routeDelivers(route, event.type)
        ? deliveryJob({ route, event, payload, inboxId, call: request.call, ...connector })
        : undefined
      const result = await takeWebhook(db, { request, event, ...found, inboxId, delivery })
      if (!result) throw refuse(request, event, 'unknown_route', route)
      if (delivery && !result.duplicate) deps.wakeUp.hint([delivery])
      accepted.inc({
        provider: request.provider.name,
        result: result.duplicate ? 'duplicate' : delivery ? 'accepted' : 'ignored',
      })
      return result
    } catch (error) {
      // Any other problem is about our side (a connector, a secret) and says nothing to the provider.
      if (error instanceof Problem && (error.status === 503 || error.code === 'signature_invalid'))
        throw error
      log.error({ err: error, request_id: request.call.requestId }, 'a webhook could not be stored')
      throw tryLater(error)
    }
  }
}

/** Forgets events whose dedupe time is over, at most `limit`; how many it were. For the worker's maintenance. */
export const forgetExpiredEvents = (on: Queryable, limit: number): Promise<number> =>
  deleteExpired(on, { limit })

/** The inbox: a day of it stays while the delivery of one of its events is unfinished or a dead letter. */
export const inboxRetention = (keepDays: number): RetentionRule => ({
  tables: ['webhook_inbox', 'webhook_payload'],
  keepDays,
  heldBy: async (tx, day) => {
    await avoidLoops(tx, undefined)
    const { found } = await findUndelivered(tx, idsOfDay(day))
    return found ? { why: 'events that are not delivered' } : undefined
  },
})
