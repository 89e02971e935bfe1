/**
 * Webhook ingress: from the bytes of a provider to a delivery job.
 *
 * Invariants. A 2xx means that payload, inbox row, event and job are committed, together. Per route an event is
 * taken once, however many copies come and whenever (the dedupe key outlives the provider's resends); the
 * others answer with the first one's inbox id. An event reaches a workspace only if a secret of exactly one
 * route verifies it and the account and livemode of the payload are the route's. What a secret verifies but no
 * route may have is kept in quarantine and answered with 2xx; everything else is refused with one and the same
 * answer, and no workspace sees any of it. A fault of ours answers 503, so that the provider sends again.
 *
 * An inbox row is `accepted` (it has a delivery job; how that goes is the state of the job), `held` (the route is
 * paused, or there is nowhere to deliver to), `waiting` (behind an earlier event of its ordering key) or `ignored`
 * (its type fits no filter of the route).
 */

import type { Queryable } from '../../platform/db/statement.ts'
import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import type { AcceptEvents } from './accept-event.ts'
import type { IncomingRequest } from './matching/match-route.ts'
import { createWebhookMatcher, type MatchDeps } from './matching/webhook-matcher.ts'
import type { AnyProvider, WebhookReply } from './provider.ts'
import { PROVIDERS } from './providers/registry.ts'
import { createRefuser, isOnlyNobodys, tryLater } from './refuse-webhook.ts'
import {
  eventToTake,
  type Found,
  type KeepInQuarantine,
  type Refusal,
  readWebhook,
  type WebhookAnswer,
  type WebhookRequest,
} from './webhook-request.ts'
import { deleteExpired, isMadeByRelease } from './webhooks.sql.ts'

export { type AcceptEvents, createEventAcceptor, type EventToTake } from './accept-event.ts'
export { providerFaults } from './check-settings.ts'
export { type DeliveryTarget, deliveryOfRow, INBOX_INPUT } from './delivery/delivery.ts'
export { createDeliveryInput, type JobWithInput } from './delivery/delivery-input.ts'
export { followDeliveries } from './delivery/follow-deliveries.ts'
export { createDeliveryGate } from './delivery/held.ts'
export { heldOf } from './delivery/held-ways.ts'
export { type HeldWhy, whyHeld } from './delivery/reception.ts'
export { inboxRetention, trimInboxDay } from './inbox-retention.ts'
export { deliverKeptEvents, type KeptDelivery, lineOf } from './intake/lines.ts'
export { findErased } from './intake/send-again.ts'
export { type AcceptedWebhook, createIntake, type Intake } from './intake/take-webhook.ts'
export type { IncomingRequest, Match, RefusalCause } from './matching/match-route.ts'
export { findPlainRoutes } from './matching/plain-address.ts'
export type { Evidence } from './matching/verify-route.ts'
export { createWebhookMatcher, type MatchDeps, type MatchWebhook } from './matching/webhook-matcher.ts'
export { readingsOf } from './provider-parts/request-body.ts'
export {
  eventToTake,
  type KeepInQuarantine,
  type RefusedWebhook,
  readWebhook,
  type WebhookAnswer,
  type WebhookRequest,
} from './webhook-request.ts'

/** Undefined = this hub does not know the provider (any more). */
export const findWebhookProvider = (name: string): AnyProvider | undefined => PROVIDERS.get(name)

export interface WebhookDeps extends Omit<MatchDeps, 'log' | 'clock'> {
  readonly platform: Pick<Platform, 'clock' | 'log' | 'metrics'>
  readonly acceptEvents: AcceptEvents
  readonly quarantine: KeepInQuarantine
}

/**
 * Errors: `signature_invalid` for every refusal, `malformed_body` and `validation_error` for a body that is no
 * event of the provider, `webhook_unavailable` and `database_unavailable` when the provider should send again.
 */
export type AcceptWebhook = (request: WebhookRequest) => Promise<WebhookAnswer>

export function createWebhookAcceptor(deps: WebhookDeps): AcceptWebhook {
  const { clock, log } = deps.platform
  const refuse = createRefuser(deps)
  const { match, handshake } = createWebhookMatcher({ ...deps, log, clock })

  const greet = async (request: WebhookRequest, incoming: IncomingRequest, reply: WebhookReply) => {
    const answer = await handshake(incoming, reply)
    if (typeof answer === 'object') return { kind: 'handshake', reply: answer } as const
    const cause = answer === 'unsure' ? 'secret_away' : 'signature_mismatch'
    return refuse.wholly(request, [{ found: false, event: undefined, cause, authentic: false }])
  }

  const take = async (request: WebhookRequest, incoming: IncomingRequest): Promise<WebhookAnswer> => {
    const question = request.provider.handshake?.(incoming.parsed, incoming.signed)
    if (question) return greet(request, incoming, question)
    const found: Found[] = []
    const refused: Refusal[] = []
    for (const each of await match(incoming)) {
      if (each.found) found.push(each)
      else refused.push(each)
    }
    if (!refused.every(isOnlyNobodys)) return refuse.wholly(request, refused)

    const { call } = request
    const taken =
      found.length === 0
        ? []
        : await deps.acceptEvents(
            found.map((each) => eventToTake(incoming, each, { call, source: 'received' })),
          )
    // The secret of a route that has gone verifies nothing.
    const gone = found.filter((_, at) => taken[at] === undefined)
    if (gone.length > 0)
      return refuse.wholly(
        request,
        gone.map(({ event, route }) => ({
          found: false,
          event,
          route,
          cause: 'unknown_route',
          authentic: false,
        })),
      )
    if (refused.length > 0) await refuse.quarantine(request, refused)
    const events = taken.filter((each) => each !== undefined)
    return events.length > 0 ? { kind: 'taken', events } : { kind: 'quarantined' }
  }

  return async (request) => {
    const incoming = readWebhook(request, clock.now())
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

/** Problems that are about the request and say nothing about us. */
const AS_THEY_ARE: ReadonlySet<string> = new Set(['signature_invalid', 'malformed_body', 'validation_error'])

/** Forgets events whose dedupe time is over, at most `limit`; how many it were. For the worker's maintenance. */
export const forgetExpiredEvents = (on: Queryable, limit: number): Promise<number> =>
  deleteExpired(on, { limit })

/**
 * Whether an event got into the inbox by the release of what came with this request, in this try or one before it: then
 * it is no duplicate, though the inbox has it already.
 */
export const gotInByRelease = async (
  on: Queryable,
  row: { readonly tenantId: string; readonly inboxId: string; readonly requestId: string },
): Promise<boolean> => (await isMadeByRelease(on, row)).made
