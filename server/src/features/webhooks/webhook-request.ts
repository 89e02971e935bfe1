import { createHash } from 'node:crypto'
import type { CallContext } from '../../platform/call-context.ts'
import type { EventToTake } from './accept-event.ts'
import { type AcceptedWebhook, keptHeaders } from './intake/take-webhook.ts'
import type { IncomingRequest, Match } from './matching/match-route.ts'
import type { AnyProvider, HeaderValues, WebhookReply } from './provider.ts'

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

/** An event of a request, or the whole of one that cannot be read, that belongs to no route beyond doubt. */
export type Refusal = Extract<Match, { readonly found: false }>
export type Found = Extract<Match, { readonly found: true }>

/** A request of which an event belongs to no route beyond doubt. */
export interface RefusedWebhook {
  readonly request: WebhookRequest
  /** The ones that were not found, at least one. */
  readonly refused: readonly Refusal[]
}

/** Keeps it for people to look at; false when it could not (full): then the request must not be answered with 2xx. */
export type KeepInQuarantine = (refused: RefusedWebhook) => Promise<boolean>

export type WebhookAnswer =
  /** A handshake was answered, nothing was taken. */
  | { readonly kind: 'handshake'; readonly reply: WebhookReply }
  /** From the provider, but nobody's: kept in quarantine. */
  | { readonly kind: 'quarantined' }
  /** The events that were found, at least one; any others of the request are in quarantine. */
  | { readonly kind: 'taken'; readonly events: readonly AcceptedWebhook[] }

/**
 * The request as it is matched. `nowMs` is when it arrived, also when it is looked at again later: signatures and
 * the windows of secrets are judged by that moment. Errors: `malformed_body`.
 */
export function readWebhook(request: Omit<WebhookRequest, 'call'>, nowMs: number): IncomingRequest {
  const { provider, routeId, raw, headers, url } = request
  const signed = { raw, headers, url, nowMs }
  return { provider, routeId, signed, parsed: provider.parse(raw) }
}

/** What goes to the inbox of the route: of a request with several events only the event's own part. */
export const eventToTake = (
  request: IncomingRequest,
  { event, route, evidence }: Pick<EventToTake, 'event' | 'route' | 'evidence'>,
  { call, source }: Pick<EventToTake, 'call' | 'source'>,
): EventToTake => ({
  ...{ event, route, evidence, call, source },
  bytes: event.part?.bytes ?? request.signed.raw,
  payload: event.part?.payload ?? request.parsed,
  headers: keptHeaders(request, route),
})

export const sha256Hex = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
