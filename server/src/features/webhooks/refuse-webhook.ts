import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import type { RefusalCause } from './matching/match-route.ts'
import { CANNOT_SAY } from './matching/webhook-matcher.ts'
import { createTellSeldom } from './tell-seldom.ts'
import { type KeepInQuarantine, type Refusal, sha256Hex, type WebhookRequest } from './webhook-request.ts'

/** The one answer to everything that is not verified beyond doubt: it tells nobody which accounts exist. */
const refusal = (): Problem =>
  new Problem('signature_invalid', 'No webhook route accepts this request with this signature.')

export const tryLater = (cause?: unknown): Problem =>
  new Problem('webhook_unavailable', 'The hub has stored nothing; send the event again.', {
    retryAfterSeconds: 30,
    cause,
  })

/** Nothing is wrong with the request: somebody has to say whose it is, so that sending it again cannot help. */
const WAITS_FOR_A_ROUTE: ReadonlySet<RefusalCause> = new Set([
  'unknown_account',
  'ambiguous',
  'account_mismatch',
])

/** Stripe sends test events to live addresses of platforms, too: to refuse them would end in the live ones being stopped. */
const isTestEvent = ({ event, cause }: Refusal): boolean =>
  cause === 'livemode_mismatch' && event?.livemode === false

/** From the provider beyond doubt, and nothing that another try could change: it may be answered with 2xx. */
export const isOnlyNobodys = (refusal: Refusal): boolean =>
  refusal.authentic && (WAITS_FOR_A_ROUTE.has(refusal.cause) || isTestEvent(refusal))

/** Tells people of events that no route gets, and keeps them. Errors: `webhook_unavailable` when that cannot be done. */
export interface RefuseWebhook {
  /** For a request with something that nobody's secret verifies. Always throws; `signature_invalid` unless nobody can say. */
  wholly(request: WebhookRequest, refused: readonly Refusal[]): Promise<never>
  /** For what is only nobody's. */
  quarantine(request: WebhookRequest, refused: readonly Refusal[]): Promise<void>
}

export function createRefuser(deps: {
  readonly platform: Pick<Platform, 'log' | 'metrics' | 'clock'>
  readonly quarantine: KeepInQuarantine
}): RefuseWebhook {
  const { log, metrics, clock } = deps.platform
  const seldom = createTellSeldom(clock)
  const counted = metrics.counter('webhooks_refused_total', 'Events that no route accepted', [
    'provider',
    'cause',
  ])

  const tell = (request: WebhookRequest, refused: readonly Refusal[]): void => {
    for (const { event, cause, route, authentic } of refused) {
      counted.inc({ provider: request.provider.name, cause })
      const untold = seldom(`${request.provider.name}/${cause}`)
      if (untold === undefined) continue
      log.warn(
        {
          cause,
          untold,
          authentic,
          provider: request.provider.name,
          accounts: event?.accounts,
          livemode: event?.livemode,
          event_id: event?.eventId,
          event_type: event?.type,
          body_sha256: sha256Hex(request.raw),
          ...(route && { tenant_id: route.tenantId, route_id: route.id }),
          request_id: request.call.requestId,
          trace_id: request.call.traceId,
        },
        'a webhook was refused',
      )
    }
  }

  return {
    wholly: async (request, refused) => {
      tell(request, refused)
      // The answer is the same whether there was room for it or not. Not every provider comes again after a 503.
      await deps.quarantine({ request, refused })
      throw refused.some(({ cause }) => CANNOT_SAY.has(cause)) ? tryLater() : refusal()
    },
    quarantine: async (request, refused) => {
      tell(request, refused)
      if (!(await deps.quarantine({ request, refused }))) throw tryLater(new Error('the quarantine is full'))
    },
  }
}
