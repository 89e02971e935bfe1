import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import type { RefusalCause } from './match-route.ts'
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

/** From the provider beyond doubt, and nothing that another try could change: it may be answered with 2xx. */
export const isOnlyNobodys = ({ authentic, cause }: Refusal): boolean =>
  authentic && WAITS_FOR_A_ROUTE.has(cause)

/** Tells people of events that no route gets, and keeps them. Errors: `webhook_unavailable` when that cannot be done. */
export interface RefuseWebhook {
  /** For a request with something that nobody's secret verifies. Always throws; `signature_invalid` unless nobody can say. */
  wholly(request: WebhookRequest, refused: readonly Refusal[]): Promise<never>
  /** For what is only nobody's. */
  quarantine(request: WebhookRequest, refused: readonly Refusal[]): Promise<void>
}

export function createRefuser(deps: {
  readonly platform: Pick<Platform, 'log' | 'metrics'>
  readonly quarantine: KeepInQuarantine
}): RefuseWebhook {
  const { log, metrics } = deps.platform
  const counted = metrics.counter('webhooks_refused_total', 'Events that no route accepted', [
    'provider',
    'cause',
  ])

  const tell = (request: WebhookRequest, refused: readonly Refusal[]): void => {
    const bodySha256 = sha256Hex(request.raw)
    for (const { event, cause, route, authentic } of refused) {
      counted.inc({ provider: request.provider.name, cause })
      log.warn(
        {
          cause,
          authentic,
          provider: request.provider.name,
          accounts: event?.accounts,
          livemode: event?.livemode,
          event_id: event?.eventId,
          event_type: event?.type,
          body_sha256: bodySha256,
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
      if (refused.some(({ cause }) => cause === 'secret_away'))
        throw tryLater(new Error('the store of a signing secret is away'))
      // The answer is the same whether there was room for it or not.
      await deps.quarantine({ request, refused })
      throw refusal()
    },
    quarantine: async (request, refused) => {
      tell(request, refused)
      if (!(await deps.quarantine({ request, refused }))) throw tryLater(new Error('the quarantine is full'))
    },
  }
}
