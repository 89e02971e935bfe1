import type { CallContext } from '../../../platform/call-context.ts'
import type { NewJob } from '../../../queue/job.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import type { Reception } from '../delivery/reception.ts'
import type { Evidence, IncomingRequest } from '../matching/match-route.ts'
import type { ProviderEvent } from '../provider.ts'

/** `received` from the provider, `pulled` out of the provider's own list, `released` from quarantine. */
export type WebhookSource = 'received' | 'pulled' | 'released'

/** An event that belongs to a route beyond doubt. */
export interface VerifiedWebhook {
  readonly call: CallContext
  readonly event: ProviderEvent
  readonly route: WebhookRoute
  /** Null for what no secret has verified: pulled by the hub, or assigned by a person. */
  readonly evidence: Evidence | null
  readonly source: WebhookSource
  /** What is kept: the body, or the event's own part of it. */
  readonly bytes: Buffer
  /** Kept beside the bytes: see `keptHeaders`. */
  readonly headers: Readonly<Record<string, string>>
  /** `bytes` as the provider reads them: the ordering key is found in it. */
  readonly payload: unknown
  readonly reception: Reception
  /** Makes the job for the inbox row; undefined when nothing can be delivered now (held, ignored). */
  readonly delivery: ((inboxId: string) => NewJob) | undefined
}

export interface AcceptedWebhook {
  /** Of the first copy, also for a duplicate. */
  readonly inboxId: string
  readonly duplicate: boolean
}

const KEPT_HEADERS = ['content-type', 'user-agent']

/** The headers that prove where the bytes came from; a header sent twice was refused by the provider's check. */
export function keptHeaders(
  { provider, signed: { headers } }: Pick<IncomingRequest, 'provider' | 'signed'>,
  { settings }: Pick<WebhookRoute, 'settings'>,
): Record<string, string> {
  const named = provider.headersNamed?.(settings) ?? []
  return Object.fromEntries(
    [...KEPT_HEADERS, ...provider.keptHeaders, ...named].flatMap((name) =>
      headers[name] ? [[name, headers[name].join(', ')]] : [],
    ),
  )
}
