import Stripe from 'stripe'

/** What the contract tests need to speak as a provider, signed by the provider's own library. */
export interface WebhookSample {
  /** Header that carries the signature. */
  readonly header: string
  readonly secrets: readonly [string, string]
  /** A valid event of its own account, formatted so that parsing and writing it again changes the bytes. */
  body(change?: {
    readonly id?: string
    readonly type?: string
    readonly account?: string
    readonly livemode?: boolean
  }): Buffer
  /** The value of the header: one signature per secret, in their order. */
  sign(body: Buffer, secrets: readonly string[], atMs: number): string
}

const stripeApi = new Stripe('sk_test_only_for_signing')

const stripe: WebhookSample = {
  header: 'stripe-signature',
  secrets: ['whsec_sample_one_4eC39HqLyjWDarjtT1zdp7dc', 'whsec_sample_two_BQokikJOvBiI2HlWgH4olfQ2'],
  body: ({ id = 'evt_sample_1', type = 'invoice.paid', account, livemode = false } = {}) =>
    Buffer.from(
      JSON.stringify(
        {
          id,
          object: 'event',
          api_version: '2026-10-28',
          ...(account !== undefined && { account, context: account }),
          created: 1_795_262_400,
          data: { object: { id: 'in_1', object: 'invoice', description: 'Käse ☕', amount_paid: 2_000 } },
          livemode,
          pending_webhooks: 1,
          request: { id: null, idempotency_key: null },
          type,
        },
        null,
        2,
      ),
    ),
  sign: (body, secrets, atMs) => {
    const timestamp = Math.floor(atMs / 1000)
    const headers = secrets.map((secret) =>
      stripeApi.webhooks.generateTestHeaderString({ payload: body.toString('utf8'), secret, timestamp }),
    )
    const [first = '', ...more] = headers
    return [first, ...more.map((header) => header.slice(header.indexOf('v1=')))].join(',')
  },
}

/** By provider name: a provider without a sample fails the contract test. */
export const WEBHOOK_SAMPLES: Readonly<Record<string, WebhookSample>> = { stripe }
