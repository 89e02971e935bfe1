import { createHmac } from 'node:crypto'

export const SIGNING_SECRET = 'whsec_bench_only_0123456789abcdef0123456789'

/** An `invoice.paid` event with the members of a real one; with its one line it has about 2 kB. */
const EVENT = JSON.stringify({
  id: 'evt_ID',
  object: 'event',
  api_version: '2026-10-28',
  created: 1_795_262_400,
  data: {
    object: {
      id: 'in_1Q0000000000000000000000',
      object: 'invoice',
      account_country: 'DE',
      account_name: 'Bench GmbH',
      amount_due: 2_000,
      amount_paid: 2_000,
      amount_remaining: 0,
      attempt_count: 1,
      attempted: true,
      auto_advance: false,
      billing_reason: 'subscription_cycle',
      collection_method: 'charge_automatically',
      created: 1_795_262_300,
      currency: 'eur',
      customer: 'cus_Q0000000000000',
      customer_address: {
        city: 'Berlin',
        country: 'DE',
        line1: 'Straße 1',
        line2: null,
        postal_code: '10115',
        state: null,
      },
      customer_email: 'ada@example.com',
      customer_name: 'Ada Lovelace',
      default_payment_method: null,
      description: null,
      discounts: [],
      due_date: null,
      effective_at: 1_795_262_300,
      ending_balance: 0,
      hosted_invoice_url:
        'https://invoice.example.com/i/acct_1Q0000000000000/test_0000000000000000000000000000',
      lines: {
        object: 'list',
        data: [
          {
            id: 'il_1Q0000000000000000000000',
            object: 'line_item',
            amount: 2_000,
            currency: 'eur',
            description: '1 × Plan (at €20.00 / month)',
            discountable: true,
            livemode: false,
            metadata: { seat: '7', plan: 'team' },
            period: { end: 1_797_940_700, start: 1_795_262_300 },
            quantity: 1,
            taxes: [],
          },
        ],
        has_more: false,
        total_count: 1,
        url: '/v1/invoices/in_1Q0000000000000000000000/lines',
      },
      livemode: false,
      metadata: {},
      number: 'ABCDEF-0007',
      paid: true,
      period_end: 1_795_262_300,
      period_start: 1_792_583_900,
      receipt_number: null,
      status: 'paid',
      status_transitions: {
        finalized_at: 1_795_262_310,
        marked_uncollectible_at: null,
        paid_at: 1_795_262_320,
        voided_at: null,
      },
      subtotal: 2_000,
      total: 2_000,
    },
  },
  livemode: false,
  pending_webhooks: 1,
  request: { id: null, idempotency_key: null },
  type: 'invoice.paid',
})
const [BEFORE_ID = '', AFTER_ID = ''] = EVENT.split('ID')

export const eventBody = (id: string): string => `${BEFORE_ID}${id}${AFTER_ID}`

/** Signed requests with different event ids, made before anything is measured: their signatures cost the server nothing. */
export function signedRequests(options: {
  readonly port: number
  readonly path: string
  readonly count: number
  /** Different for every load on one server. */
  readonly series: string
}): Buffer[] {
  const { port, path, count, series } = options
  const timestamp = Math.floor(Date.now() / 1_000)
  return Array.from({ length: count }, (_, at) => {
    const body = Buffer.from(eventBody(`${series}${String(at).padStart(20, '0')}`))
    const v1 = createHmac('sha256', SIGNING_SECRET).update(`${timestamp}.`).update(body).digest('hex')
    const head = `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json; charset=utf-8\r\nuser-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\naccept: */*\r\nstripe-signature: t=${timestamp},v1=${v1}\r\ncontent-length: ${body.length}\r\n\r\n`
    return Buffer.concat([Buffer.from(head, 'latin1'), body])
  })
}
