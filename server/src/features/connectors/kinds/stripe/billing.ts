import {
  ADDRESS,
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

const CUSTOMERS: Resource = {
  path: '/v1/customers',
  object: 'customer',
  named: ['customer', 'customers'],
}
const SUBSCRIPTIONS: Resource = {
  path: '/v1/subscriptions',
  object: 'subscription',
  named: ['subscription', 'subscriptions'],
}
const INVOICES: Resource = { path: '/v1/invoices', object: 'invoice', named: ['invoice', 'invoices'] }

const CUSTOMER_FIELDS: Fields = {
  email: text('Email', 'Where Stripe sends invoices and receipts.', { maxLength: 512 }),
  name: text('Name', 'Full name, or the name of the business.'),
  description: DESCRIPTION,
  phone: text('Phone', 'Telephone number.'),
  address: ADDRESS,
  shipping: object('Shipping', 'Who goods are sent to.', {
    name: text('Name', 'Recipient.'),
    phone: text('Phone', 'Telephone number of the recipient.'),
    address: ADDRESS,
  }),
  payment_method: PAYMENT_METHOD,
  invoice_settings: object('Invoice settings', 'Defaults for the invoices of the customer.', {
    default_payment_method: PAYMENT_METHOD,
    footer: text('Footer', 'Stands at the end of every invoice.'),
  }),
  preferred_locales: list('Languages', 'In the order of preference, e.g. `de`.', { type: 'string' }),
  tax_exempt: oneOf('Tax', ['none', 'exempt', 'reverse'], 'Whether taxes are charged.'),
  balance: integer('Balance', 'Negative = credit that the next invoice uses. In the smallest unit.'),
  metadata: METADATA,
}

const ITEM_FIELDS: Fields = {
  id: id('Item', 'si_', 'An item that is there already; for updates.'),
  price: id('Price', 'price_', 'What is subscribed to.'),
  quantity: integer('Quantity', 'How many.', { minimum: 0 }),
  deleted: flag('Remove', 'For updates: takes the item away.'),
  metadata: METADATA,
}
const ITEMS = list(
  'Items',
  'What is subscribed to, each with its price.',
  object('Item', 'One price.', ITEM_FIELDS),
  { maxItems: 20 },
)
const COLLECTION = oneOf(
  'Collection',
  ['charge_automatically', 'send_invoice'],
  'Whether invoices are charged at once or sent to be paid.',
)
const DAYS_UNTIL_DUE = integer('Days until due', 'For `send_invoice`: days to pay.', { minimum: 0 })
const AUTOMATIC_TAX = object('Automatic tax', 'Whether Stripe works out the tax.', {
  enabled: flag('Enabled', 'Stripe works out the tax.'),
})
const DISCOUNTS = list(
  'Discounts',
  'Coupons and promotion codes.',
  object('Discount', 'A coupon or a promotion code.', {
    coupon: text('Coupon', 'Id of a coupon.'),
    promotion_code: text('Promotion code', 'Id of a promotion code, `promo_…`.'),
  }),
)
const PRORATION = oneOf(
  'Proration',
  ['create_prorations', 'none', 'always_invoice'],
  'What happens to the paid part of a period that changes in its middle.',
)

const SUBSCRIPTION_FIELDS: Fields = {
  items: ITEMS,
  default_payment_method: PAYMENT_METHOD,
  collection_method: COLLECTION,
  days_until_due: DAYS_UNTIL_DUE,
  cancel_at_period_end: flag('Cancel at the end', 'It ends with the period that is paid.'),
  payment_behavior: oneOf(
    'Payment behaviour',
    ['allow_incomplete', 'default_incomplete', 'error_if_incomplete', 'pending_if_incomplete'],
    'What happens when the first payment fails.',
  ),
  proration_behavior: PRORATION,
  automatic_tax: AUTOMATIC_TAX,
  discounts: DISCOUNTS,
  trial_end: {
    type: ['integer', 'string'],
    title: 'End of the trial',
    description: 'Unix seconds, or `now`.',
  },
  description: DESCRIPTION,
  metadata: METADATA,
}

const INVOICE_FIELDS: Fields = {
  description: DESCRIPTION,
  auto_advance: flag('Advance by itself', 'Stripe finalizes and collects it by itself.'),
  collection_method: COLLECTION,
  days_until_due: DAYS_UNTIL_DUE,
  due_date: integer('Due date', 'For `send_invoice`: Unix seconds.'),
  default_payment_method: PAYMENT_METHOD,
  automatic_tax: AUTOMATIC_TAX,
  discounts: DISCOUNTS,
  footer: text('Footer', 'Stands at the end of the invoice.'),
  metadata: METADATA,
}

/** Customers, subscriptions and invoices. */
export const BILLING: Readonly<Record<string, StripeOperation>> = {
  'customers.create': create(CUSTOMERS, CUSTOMER_FIELDS),
  'customers.retrieve': retrieve(CUSTOMERS),
  'customers.update': update(CUSTOMERS, CUSTOMER_FIELDS),
  'customers.delete': {
    title: 'Delete a customer',
    description: 'For good: its subscriptions are cancelled at once. A repetition does no more harm.',
    method: 'DELETE',
    path: '/v1/customers/{id}',
    fields: {},
    answers: 'customer',
  },
  'customers.list': listAll(CUSTOMERS, {
    email: text('Email', 'Only customers with exactly this address.', { maxLength: 512 }),
  }),
  'customers.search': {
    title: 'Search customers',
    description:
      "Finds customers by Stripe's query language. What has just changed may be found a minute later only.",
    method: 'GET',
    path: '/v1/customers/search',
    fields: {
      query: text('Query', "E.g. `email:'ada@example.com' AND metadata['plan']:'pro'`."),
      limit: integer('Limit', 'How many at most; 10 when absent.', { minimum: 1, maximum: 100 }),
      page: text('Page', '`next_page` of the answer before.'),
    },
    required: ['query'],
    answers: 'search_result',
  },

  'subscriptions.create': create(
    SUBSCRIPTIONS,
    {
      customer: CUSTOMER,
      ...SUBSCRIPTION_FIELDS,
      currency: CURRENCY,
      trial_period_days: integer('Trial', 'Days that are free.', { minimum: 0, maximum: 730 }),
    },
    ['items'],
  ),
  'subscriptions.retrieve': retrieve(SUBSCRIPTIONS),
  'subscriptions.update': update(SUBSCRIPTIONS, {
    ...SUBSCRIPTION_FIELDS,
    cancel_at: integer('Cancel at', 'Unix seconds at which it ends.'),
    proration_date: integer('Proration date', 'Unix seconds as of which parts of a period are worked out.'),
  }),
  'subscriptions.cancel': {
    title: 'Cancel a subscription',
    description: 'Ends it now. To let the paid period run out, update `cancel_at_period_end` instead.',
    method: 'DELETE',
    path: '/v1/subscriptions/{id}',
    fields: {
      invoice_now: flag('Invoice now', 'Bills what was used and is not yet billed.'),
      prorate: flag('Prorate', 'Credits the part of the period that is left.'),
      cancellation_details: object('Why', 'Kept with the subscription.', {
        comment: text('Comment', 'In words.'),
        feedback: text('Feedback', 'One of the reasons that Stripe knows, e.g. `too_expensive`.'),
      }),
    },
    answers: 'subscription',
  },
  'subscriptions.list': listAll(SUBSCRIPTIONS, {
    customer: CUSTOMER,
    price: id('Price', 'price_', 'Only subscriptions to this price.'),
    status: text(
      'Status',
      'E.g. `active`, `past_due`, `canceled`, `all`. Absent = all but the cancelled ones.',
    ),
  }),

  'invoices.create': create(INVOICES, {
    customer: CUSTOMER,
    subscription: id('Subscription', 'sub_', 'The subscription whose open items it takes.'),
    currency: CURRENCY,
    pending_invoice_items_behavior: oneOf(
      'Open items',
      ['exclude', 'include'],
      'Whether the open items of the customer are put on it.',
    ),
    ...INVOICE_FIELDS,
  }),
  'invoices.retrieve': retrieve(INVOICES),
  'invoices.finalize': act(INVOICES, 'finalize', {
    title: 'Finalize',
    description: 'Gives a draft its number; it can no longer be changed.',
    fields: { auto_advance: flag('Advance by itself', 'Stripe collects it by itself afterwards.') },
  }),
  'invoices.pay': act(INVOICES, 'pay', {
    title: 'Pay',
    description: 'Tries to collect an open invoice now.',
    fields: {
      payment_method: PAYMENT_METHOD,
      paid_out_of_band: flag('Paid elsewhere', 'Marks it as paid without charging anything.'),
      off_session: flag('Off session', 'The customer is not there to confirm the payment.'),
    },
  }),
  'invoices.void': act(INVOICES, 'void', {
    title: 'Void',
    description: 'Declares an open invoice to be a mistake. This is final.',
  }),
  'invoices.list': listAll(INVOICES, {
    customer: CUSTOMER,
    subscription: id('Subscription', 'sub_', 'Only invoices of this subscription.'),
    status: oneOf(
      'Status',
      ['draft', 'open', 'paid', 'uncollectible', 'void'],
      'Only invoices of this status.',
    ),
  }),
}
