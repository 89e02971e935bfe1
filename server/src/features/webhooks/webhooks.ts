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

import { createHash } from 'node:crypto'
import type { CallContext } from '../../platform/call-context.ts'
import type { RetentionRule } from '../../platform/db/retention.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import { idsOfDay } from '../../queue/job-history.ts'
import type { RouteDirectory } from '../webhook-routes/webhook-routes.ts'
import { deliveryJob } from './delivery.ts'
import {
  type IncomingRequest,
  type Match,
  type MatchDeps,
  matchEvents,
  type RefusalCause,
} from './match-route.ts'
import type { AnyProvider, HeaderValues, WebhookReply } from './provider.ts'
import { PROVIDERS } from './providers/registry.ts'
import { receptionOf } from './reception.ts'
import { type AcceptedWebhook, type Intake, keptHeaders, type VerifiedWebhook } from './take-webhook.ts'
import { avoidLoops, deleteExpired, findUndelivered } from './webhooks.sql.ts'

export { createIntake, type Intake } from './take-webhook.ts'

export const isWebhookProvider = (name: string): boolean => PROVIDERS.has(name)

export interface WebhookDeps extends Omit<MatchDeps, 'log'> {
  readonly platform: Pick<Platform, 'clock' | 'log' | 'metrics'>
  readonly routes: RouteDirectory
  /** The connector's lane and the version of the active config; undefined = the active config has no such connector. */
  readonly activeConnector: (
    tenantId: string,
    connector: string,
  ) => Promise<{ readonly lane: number; readonly configVersion: number } | undefined>
  readonly intake: Pick<Intake, 'take'>
  readonly quarantine: KeepInQuarantine
}

/** A request as the ingress gives it. */
export interface WebhookRequest {
  readonly provider: AnyProvider
  /** From the path `/webhooks/:provider/:route_id`. */
  readonly routeId: string | undefined
  /** The body exactly as it arrived. */
  readonly raw: Buffer
  readonly headers: HeaderValues
  /** See `SignedRequest`. */
  readonly url: string | undefined
  readonly call: CallContext
}

/** A request of which an event belongs to no route beyond doubt. */
export interface RefusedWebhook {
  readonly request: WebhookRequest
  /** The ones that were not found, at least one. */
  readonly refused: readonly Extract<Match, { readonly found: false }>[]
}

/** Keeps it for people to look at; false when it could not (full): then the request must not be answered with 2xx. */
export type KeepInQuarantine = (refused: RefusedWebhook) => Promise<boolean>

export type WebhookAnswer =
  /** A handshake was answered, nothing was taken. */
  | { readonly kind: 'handshake'; readonly reply: WebhookReply }
  /** From the provider, but nobody's: kept in quarantine. */
  | { readonly kind: 'quarantined' }
  /** One per event of the request. */
  | { readonly kind: 'taken'; readonly events: readonly AcceptedWebhook[] }

/**
 * Errors: `signature_invalid` for every refusal, `malformed_body` and `validation_error` for a body that is no
 * event of the provider, `webhook_unavailable` and `database_unavailable` when the provider should send again.
 */
export type AcceptWebhook = (request: WebhookRequest) => Promise<WebhookAnswer>

/** The one answer to everything that is not verified beyond doubt: it tells nobody which accounts exist. */
const refusal = (): Problem =>
  new Problem('signature_invalid', 'No webhook route accepts this request with this signature.')

const tryLater = (cause?: unknown): Problem =>
  new Problem('webhook_unavailable', 'The hub has stored nothing; send the event again.', {
    retryAfterSeconds: 30,
    cause,
  })

export function createWebhookAcceptor(deps: WebhookDeps): AcceptWebhook {
  const { clock, log, metrics } = deps.platform
  const accepted = metrics.counter('webhooks_accepted_total', 'Webhooks answered with 2xx', [
    'provider',
    'result',
  ])
  const refused = metrics.counter('webhooks_refused_total', 'Webhooks that no route accepted', [
    'provider',
    'cause',
  ])
  const matching: MatchDeps = { ...deps, log }

  const tell = (request: WebhookRequest, { event, cause, route }: Extract<Match, { found: false }>): void => {
    refused.inc({ provider: request.provider.name, cause })
    log.warn(
      {
        cause,
        provider: request.provider.name,
        accounts: event?.accounts,
        livemode: event?.livemode,
        event_id: event?.eventId,
        event_type: event?.type,
        body_sha256: createHash('sha256').update(request.raw).digest('hex'),
        ...(route && { tenant_id: route.tenantId, route_id: route.id }),
        request_id: request.call.requestId,
        trace_id: request.call.traceId,
      },
      'a webhook was refused',
    )
  }

  /** A refusal counts only after a look at the database: the route may be newer than the memory. */
  const match = async (request: IncomingRequest): Promise<readonly Match[]> => {
    const known = await deps.routes.current()
    const found = await matchEvents(matching, known, request)
    if (found.every((each) => each.found)) return found
    const newest = await deps.routes.refresh()
    return newest === known ? found : matchEvents(matching, newest, request)
  }

  const refuse = async (
    request: WebhookRequest,
    refusals: RefusedWebhook['refused'],
  ): Promise<WebhookAnswer> => {
    for (const each of refusals) tell(request, each)
    if (refusals.some(({ cause }) => cause === 'secret_away'))
      throw tryLater(new Error('the store of a signing secret is away'))
    const kept = await deps.quarantine({ request, refused: refusals })
    if (!refusals.every(({ authentic, cause }) => authentic && WAITS_FOR_A_ROUTE.has(cause))) throw refusal()
    if (!kept) throw tryLater(new Error('the quarantine is full'))
    return { kind: 'quarantined' }
  }

  const webhookOf = async (
    request: IncomingRequest,
    call: CallContext,
    { event, route, evidence }: Extract<Match, { found: true }>,
  ): Promise<VerifiedWebhook> => {
    const connector = await deps.activeConnector(route.tenantId, route.connector)
    const workspace = await deps.workspaces.find(route.tenantId)
    if (!connector || workspace?.status !== 'active')
      throw tryLater(new Error(connector ? 'the workspace is not active' : 'the connector is not active'))
    const payload = event.part?.payload ?? request.parsed
    const reception = receptionOf({ route, event, connector, workspace })
    return {
      call,
      event,
      route,
      evidence,
      source: 'received',
      bytes: event.part?.bytes ?? request.signed.raw,
      headers: keptHeaders(request),
      payload,
      reception,
      delivery:
        reception.state === 'accepted'
          ? (inboxId) => deliveryJob({ route, event, payload, inboxId, call, ...connector })
          : undefined,
    }
  }

  const take = async (request: WebhookRequest, incoming: IncomingRequest): Promise<WebhookAnswer> => {
    const matches = await match(incoming)
    const found = matches.filter((each) => each.found)
    const workspaces = await Promise.all(found.map(({ route }) => deps.workspaces.find(route.tenantId)))
    const refusals = matches.flatMap((each) => (each.found ? [] : [each]))
    // It does not come back for its webhooks, as far as anybody outside can tell.
    for (const [at, { event }] of found.entries())
      if (workspaces[at]?.status === 'deleting')
        refusals.push({ found: false, event, cause: 'unknown_account', authentic: false })
    if (refusals.length > 0) return refuse(request, refusals)

    const webhooks = await Promise.all(found.map((each) => webhookOf(incoming, request.call, each)))
    const taken = await deps.intake.take(webhooks)
    const events: AcceptedWebhook[] = []
    for (const [at, result] of taken.entries()) {
      const webhook = webhooks[at]
      if (!webhook) throw new Error('an answer to nothing')
      const { event, route, reception } = webhook
      if (!result)
        return refuse(request, [{ found: false, event, route, cause: 'unknown_route', authentic: false }])
      accepted.inc({
        provider: request.provider.name,
        result: result.duplicate ? 'duplicate' : reception.state,
      })
      events.push(result)
    }
    return { kind: 'taken', events }
  }

  return async (request) => {
    const signed = { ...request, nowMs: clock.now() }
    const incoming = { ...request, signed, parsed: request.provider.parse(signed) }
    try {
      return await take(request, incoming)
    } catch (error) {
      if (error instanceof Problem && AS_THEY_ARE.has(error.code)) throw error
      // Any other problem is about our side (a connector, a secret) and says nothing to the provider.
      if (error instanceof Problem && error.status === 503) throw error
      log.error({ err: error, request_id: request.call.requestId }, 'a webhook could not be stored')
      throw tryLater(error)
    }
  }
}

/** Nothing is wrong with the request: somebody has to say whose it is, so that sending it again cannot help. */
const WAITS_FOR_A_ROUTE: ReadonlySet<RefusalCause> = new Set([
  'unknown_account',
  'ambiguous',
  'account_mismatch',
])
/** Problems that are about the request and say nothing about us. */
const AS_THEY_ARE: ReadonlySet<string> = new Set(['signature_invalid', 'malformed_body', 'validation_error'])

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
