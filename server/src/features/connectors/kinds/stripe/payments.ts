import {
  amount,
  CURRENCY,
  CUSTOMER,
  DESCRIPTION,
  type Fields,
  flag,
  id,
  integer,
  list,
  METADATA,
  object,
  oneOf,
  PAYMENT_METHOD,
  text,
} from './fields.ts'
import { act, create, listAll, type Resource, retrieve, type StripeOperation, update } from './operation.ts'

const SESSIONS: Resource = {
  path: '/v1/checkout/sessions',
  object: 'checkout.session',
  named: ['checkout session', 'checkout sessions'],
}
const INTENTS: Resource = {
  path: '/v1/payment_intents',
  object: 'payment_intent',
  named: ['payment intent', 'payment intents'],
}
const REFUNDS: Resource = { path: '/v1/refunds', object: 'refund', named: ['refund', 'refunds'] }

const RETURN_URL = text('Return URL', 'Where the customer comes back to after a step elsewhere.')
const CAPTURE_METHOD = oneOf(
  'Capture',
  ['automatic', 'automatic_async', 'manual'],
  'Whether the money is taken at once or only held until it is captured.',
)
const STATEMENT = text('Statement suffix', "Stands on the customer's statement, after your own name.", {
  maxLength: 22,
})
const INTENT = id('Payment intent', 'pi_', 'The payment.')

const INTENT_FIELDS: Fields = {
  customer: CUSTOMER,
  payment_method: PAYMENT_METHOD,
  payment_method_types: list(
    'Kinds of payment',
    'E.g. `card`, `sepa_debit`. Absent = by your settings at Stripe.',
    {
      type: 'string',
    },
  ),
  description: DESCRIPTION,
  receipt_email: text('Receipt to', 'Where the receipt is sent.', { maxLength: 512 }),
  setup_future_usage: oneOf(
    'Keep for later',
    ['off_session', 'on_session'],
    'Keeps the payment method for later payments.',
  ),
  statement_descriptor_suffix: STATEMENT,
  metadata: METADATA,
}

/** Checkout sessions, payment intents and refunds. */
export const PAYMENTS: Readonly<Record<string, StripeOperation>> = {
  'checkout.sessions.create': create(SESSIONS, {
    mode: oneOf('Mode', ['payment', 'setup', 'subscription'], 'What the customer does on the page.'),
    line_items: list(
      'Items',
      'What is bought.',
      object('Item', 'A price and how many of it.', {
        price: id('Price', 'price_', 'The price; or `price_data` instead.'),
        quantity: integer('Quantity', 'How many.', { minimum: 0 }),
      }),
    ),
    success_url: text(
      'Success URL',
      'Where the customer goes afterwards. `{CHECKOUT_SESSION_ID}` is filled in.',
    ),
    cancel_url: text('Cancel URL', 'Where the customer goes who gives up.'),
    customer: CUSTOMER,
    customer_email: text('Email', 'Filled in for a customer who is new.', { maxLength: 800 }),
    client_reference_id: text('Reference', 'An id of your own, e.g. of the cart.', { maxLength: 200 }),
    allow_promotion_codes: flag('Promotion codes', 'The customer may enter one.'),
    automatic_tax: object('Automatic tax', 'Whether Stripe works out the tax.', {
      enabled: flag('Enabled', 'Stripe works out the tax.'),
    }),
    expires_at: integer('Expires at', 'Unix seconds, 30 minutes to 24 hours from now.'),
    locale: text('Language', 'Of the page, e.g. `de`; `auto` = of the browser.', { maxLength: 20 }),
    subscription_data: object('Subscription', 'For the mode `subscription`: what it is made with.', {
      trial_period_days: integer('Trial', 'Days that are free.', { minimum: 1 }),
      metadata: METADATA,
    }),
    payment_intent_data: object('Payment', 'For the mode `payment`: what it is made with.', {
      capture_method: CAPTURE_METHOD,
      metadata: METADATA,
    }),
    metadata: METADATA,
  }),
  'checkout.sessions.retrieve': retrieve(SESSIONS),
  'checkout.sessions.expire': act(SESSIONS, 'expire', {
    title: 'Expire',
    description: 'Ends an open session: it can no longer be paid.',
  }),
  'checkout.sessions.list': listAll(SESSIONS, {
    customer: CUSTOMER,
    payment_intent: INTENT,
    subscription: id('Subscription', 'sub_', 'Only the session of this subscription.'),
    status: oneOf('Status', ['open', 'complete', 'expired'], 'Only sessions of this status.'),
  }),

  'payment_intents.create': create(
    INTENTS,
    {
      amount: amount('What is to be paid.'),
      currency: CURRENCY,
      ...INTENT_FIELDS,
      confirm: flag('Confirm', 'Charges at once.'),
      off_session: flag('Off session', 'The customer is not there to confirm the payment.'),
      capture_method: CAPTURE_METHOD,
      return_url: RETURN_URL,
      automatic_payment_methods: object(
        'Automatic kinds',
        'The kinds of payment of your settings at Stripe.',
        {
          enabled: flag('Enabled', 'Takes them.'),
          allow_redirects: oneOf(
            'Redirects',
            ['always', 'never'],
            'Whether a kind may lead to another page.',
          ),
        },
      ),
    },
    ['amount', 'currency'],
  ),
  'payment_intents.retrieve': retrieve(INTENTS),
  'payment_intents.update': update(INTENTS, { amount: amount('What is to be paid.'), ...INTENT_FIELDS }),
  'payment_intents.confirm': act(INTENTS, 'confirm', {
    title: 'Confirm',
    description: 'Charges the payment method. The answer may ask for one more step of the customer.',
    fields: {
      payment_method: PAYMENT_METHOD,
      return_url: RETURN_URL,
      off_session: flag('Off session', 'The customer is not there to confirm the payment.'),
    },
  }),
  'payment_intents.capture': act(INTENTS, 'capture', {
    title: 'Capture',
    description: 'Takes money that was held.',
    fields: {
      amount_to_capture: amount('How much of it; absent = all of it.'),
      statement_descriptor_suffix: STATEMENT,
    },
  }),
  'payment_intents.cancel': act(INTENTS, 'cancel', {
    title: 'Cancel',
    description: 'Gives up a payment that is not done; what was held is let go.',
    fields: {
      cancellation_reason: oneOf(
        'Reason',
        ['abandoned', 'duplicate', 'fraudulent', 'requested_by_customer'],
        'Why.',
      ),
    },
  }),
  'payment_intents.list': listAll(INTENTS, { customer: CUSTOMER }),

  'refunds.create': create(REFUNDS, {
    payment_intent: INTENT,
    charge: id('Charge', 'ch_', 'The charge, instead of the payment intent.'),
    amount: amount('How much of it; absent = all that is left.'),
    reason: oneOf('Reason', ['duplicate', 'fraudulent', 'requested_by_customer'], 'Why.'),
    reverse_transfer: flag('Reverse the transfer', 'Takes it back from the connected account.'),
    refund_application_fee: flag('Refund the fee', 'Gives back the fee of the platform, too.'),
    metadata: METADATA,
  }),
  'refunds.retrieve': retrieve(REFUNDS),
  'refunds.list': listAll(REFUNDS, {
    payment_intent: INTENT,
    charge: id('Charge', 'ch_', 'Only refunds of this charge.'),
  }),
}
