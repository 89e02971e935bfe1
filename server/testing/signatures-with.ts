import { createHmac } from 'node:crypto'
import { signatureHeaders } from '../src/features/connectors/kinds/callback/sign.ts'
import { PROVIDERS } from '../src/features/webhooks/providers/registry.ts'
import type { Secret } from '../src/platform/secret.ts'
import { stripe, stripeSignature } from './webhook-samples/stripe.ts'

/** Which of these values the hub accepts of a webhook provider while it holds a secret, and signs callbacks with. */
export async function signaturesWith(secret: Secret, values: readonly string[]) {
  const provider = PROVIDERS.get('stripe')
  if (!provider) throw new Error('stripe is gone')
  const now = Date.now()
  const tools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }
  const verdicts = await Promise.all(
    values.map((value) => {
      const headers = { 'stripe-signature': [stripeSignature(stripe.body(), [value], now)] }
      const signed = { raw: stripe.body(), headers, url: undefined, nowMs: now }
      return provider.verify(signed, secret.inForce(), {}, tools)
    }),
  )
  const accepted = values.filter((_value, at) => verdicts[at]?.verified)
  const message = { id: 'm', body: '{}', now, secrets: { signing: secret } }
  const signed = signatureHeaders(message)['webhook-signature']?.split(' ')
  const signing = values.filter((value) => {
    const text = `m.${Math.floor(now / 1_000)}.{}`
    const hmac = createHmac('sha256', Buffer.from(value.slice('whsec_'.length), 'base64')).update(text)
    return signed?.includes(`v1,${hmac.digest('base64')}`)
  })
  return { accepted, signing }
}
