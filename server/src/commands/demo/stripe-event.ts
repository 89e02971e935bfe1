import { randomUUID } from 'node:crypto'
import { StartRefused } from '../../platform/start-refused.ts'

/** A Stripe event as bytes, with the header that the provider's own library makes for it. */
export interface SignedEvent {
  readonly id: string
  readonly type: string
  readonly payload: string
  readonly signature: string
}

/** The object of an event, by the first word of its type; the fields that a billing product looks at. */
function objectOf(type: string): Record<string, unknown> {
  const id = randomUUID().replaceAll('-', '').slice(0, 24)
  if (type.startsWith('customer.subscription.'))
    return {
      id: `sub_${id}`,
      object: 'subscription',
      customer: `cus_${id}`,
      status: 'active',
      currency: 'eur',
    }
  if (type.startsWith('invoice.'))
    return {
      id: `in_${id}`,
      object: 'invoice',
      customer: `cus_${id}`,
      status: 'paid',
      currency: 'eur',
      amount_paid: 4200,
    }
  return { id: `obj_${id}`, object: type.split('.')[0] ?? 'object' }
}

/**
 * Makes an event and signs it with the `stripe` package, so that the hub is held against the provider's own code
 * and not against ours. The package is a development dependency.
 */
export async function signedStripeEvent(wanted: {
  readonly type: string
  readonly secret: string
  /** A connected account; absent = the sender's own. */
  readonly account?: string
}): Promise<SignedEvent> {
  const { type, secret, account } = wanted
  const { default: Stripe } = await import('stripe').catch((cause: unknown) => {
    throw new StartRefused('This needs the `stripe` package: run `npm ci` without --omit=dev.', { cause })
  })
  const id = `evt_${randomUUID().replaceAll('-', '').slice(0, 24)}`
  const payload = JSON.stringify({
    id,
    object: 'event',
    api_version: '2026-10-28.basil',
    created: Math.floor(Date.now() / 1_000),
    type,
    livemode: false,
    ...(account && { account }),
    pending_webhooks: 1,
    request: { id: null, idempotency_key: null },
    data: { object: objectOf(type) },
  })
  const signature = Stripe.webhooks.generateTestHeaderString({ payload, secret })
  return { id, type, payload, signature }
}

/** Sends an event as the provider would. */
export async function sendStripeEvent(
  ingressUrl: string,
  event: SignedEvent,
): Promise<{ status: number; body: { inbox_id?: string; duplicate?: boolean }; traceId: string }> {
  const answer = await fetch(`${ingressUrl}/webhooks/stripe`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'stripe-signature': event.signature },
    body: event.payload,
  })
  const body = (await answer.json()) as { inbox_id?: string; duplicate?: boolean }
  return { status: answer.status, body, traceId: answer.headers.get('traceparent')?.split('-')[1] ?? '' }
}
