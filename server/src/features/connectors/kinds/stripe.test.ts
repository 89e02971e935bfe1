import { existsSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import Stripe from 'stripe'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type CalledConnector, calledConnector } from '../../../../testing/called-connector.ts'
import { type Answer, json, startUpstream, type Upstream } from '../../../../testing/upstream.ts'
import { Problem } from '../../../problems.ts'
import { checkConnector } from '../connectors.ts'
import { encodeForm } from './stripe/form.ts'

const KEY = 'sk_test_canary_4eC39HqLyjWDarjtT1'
const VERSION = '2026-10-28.endive'
/** Objects as Stripe's own test server has them, where they lie beside the repository. */
const FIXTURES = new URL('../../../../../../shared/fixtures/stripe/fixtures3.json', import.meta.url)
const resources: Record<string, Record<string, unknown>> = existsSync(FIXTURES)
  ? JSON.parse(readFileSync(FIXTURES, 'utf8')).resources
  : {}

/** An object as Stripe answers it. */
function sample(object: string): Record<string, unknown> {
  if (object === 'list') return { object, data: [sample('customer')], has_more: false, url: '/v1/customers' }
  if (object === 'search_result') return { ...sample('list'), object, next_page: null }
  return (
    resources[object] ?? { id: 'x_1', object, livemode: false, metadata: {}, name: 'Käse ☕', total: null }
  )
}

let upstream: Upstream
let stripe: CalledConnector
const opened: CalledConnector[] = []
const connectorWith = (settings: Record<string, unknown> = {}, apiKey = KEY) => {
  const connector = calledConnector({
    kind: 'stripe',
    settings: { mode: 'test', base_url: upstream.url, ...settings },
    secrets: { api_key: apiKey },
  })
  opened.push(connector)
  return connector
}
beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(() => upstream.close())
afterEach(async () => {
  for (const connector of opened.splice(0)) await connector.close()
})
const begin = (answer: Answer = json(200, sample('customer')), settings = {}) => {
  upstream.reset(answer)
  stripe = connectorWith(settings)
  return stripe
}

/** Every operation but `request`, with parameters that nest. */
const INPUTS: Record<string, Record<string, unknown>> = {
  'customers.create': {
    email: 'ada+1@example.com',
    name: "Ada O'Neill (née Käse)! *☕*",
    address: { line1: 'Weg 1', country: 'DE' },
    metadata: { plan: 'pro & co', 'a b': '1=2' },
    preferred_locales: ['de', 'en'],
    tax_exempt: 'none',
  },
  'customers.retrieve': { id: 'cus_1', expand: ['default_source', 'subscriptions.data'] },
  'customers.update': { id: 'cus_1', description: null, metadata: { plan: '' }, balance: -500 },
  'customers.delete': { id: 'cus_1' },
  'customers.list': { limit: 3, created: { gte: 1, lt: 2 }, email: 'a@example.com' },
  'customers.search': { query: "metadata['plan']:'pro' AND email~\"ä\"", limit: 5 },
  'subscriptions.create': {
    customer: 'cus_1',
    items: [{ price: 'price_1', quantity: 2 }, { price: 'price_2' }],
    trial_end: 'now',
    discounts: [{ coupon: 'summer' }],
    unheard_of: { deep: [{ er: true }] },
  },
  'subscriptions.retrieve': { id: 'sub_1' },
  'subscriptions.update': {
    id: 'sub_1',
    items: [{ id: 'si_1', deleted: true }],
    cancel_at_period_end: false,
  },
  'subscriptions.cancel': { id: 'sub_1', invoice_now: true, cancellation_details: { comment: 'too dear' } },
  'subscriptions.list': { customer: 'cus_1', status: 'all' },
  'invoices.create': { customer: 'cus_1', auto_advance: false, metadata: { order: 7 } },
  'invoices.retrieve': { id: 'in_1' },
  'invoices.finalize': { id: 'in_1', auto_advance: true },
  'invoices.pay': { id: 'in_1', paid_out_of_band: true },
  'invoices.void': { id: 'in_1' },
  'invoices.list': { subscription: 'sub_1', status: 'open', starting_after: 'in_0' },
  'checkout.sessions.create': {
    mode: 'subscription',
    line_items: [{ price: 'price_1', quantity: 1 }],
    success_url: 'https://shop.example/done?s={CHECKOUT_SESSION_ID}&x=[1]',
    subscription_data: { trial_period_days: 7, metadata: { a: 'b' } },
  },
  'checkout.sessions.retrieve': { id: 'cs_test_1' },
  'checkout.sessions.expire': { id: 'cs_test_1' },
  'checkout.sessions.list': { payment_intent: 'pi_1', limit: 1 },
  'payment_intents.create': {
    amount: 1000,
    currency: 'eur',
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    payment_method_types: ['card'],
  },
  'payment_intents.retrieve': { id: 'pi_1' },
  'payment_intents.update': { id: 'pi_1', amount: 2000, receipt_email: null },
  'payment_intents.confirm': { id: 'pi_1', return_url: 'https://shop.example/' },
  'payment_intents.capture': { id: 'pi_1', amount_to_capture: 750 },
  'payment_intents.cancel': { id: 'pi_1', cancellation_reason: 'duplicate' },
  'payment_intents.list': { customer: 'cus_1' },
  'refunds.create': { payment_intent: 'pi_1', amount: 1, reason: 'duplicate' },
  'refunds.retrieve': { id: 're_1' },
  'refunds.list': { charge: 'ch_1' },
  'events.retrieve': { id: 'evt_1' },
  'events.list': {
    types: ['invoice.paid', 'charge.*'],
    delivery_success: false,
    created: { gte: 1, lte: 2 },
    limit: 100,
    starting_after: 'evt_0',
  },
}
const SDK_NAMES: Record<string, string> = { delete: 'del', finalize: 'finalizeInvoice', void: 'voidInvoice' }

/** The same call by Stripe's own library. */
async function bySdk(name: string, { id, ...params }: Record<string, unknown>, account?: string) {
  const { hostname, port } = new URL(upstream.url)
  const sdk = new Stripe(KEY, {
    host: hostname,
    port,
    protocol: 'http',
    maxNetworkRetries: 0,
    telemetry: false,
  })
  const path = name.split('.')
  const method = SDK_NAMES[path.at(-1) ?? ''] ?? path.at(-1) ?? ''
  type Methods = Record<string, (...given: unknown[]) => Promise<unknown>>
  const resource = path
    .slice(0, -1)
    .reduce<unknown>(
      (at, part) =>
        (at as Record<string, unknown>)[part.replaceAll(/_(.)/g, (_, letter) => letter.toUpperCase())],
      sdk,
    ) as Methods
  const options = { idempotencyKey: 'orch-key-1', ...(account !== undefined && { stripeAccount: account }) }
  await resource[method]?.(...(id === undefined ? [] : [id]), params, options)
}

describe('what is sent is what the library of Stripe sends', () => {
  const operations = () => begin().connector.operations

  test('every operation is tried', () => {
    expect(Object.keys(INPUTS).sort()).toEqual(
      [...operations().keys()].filter((name) => name !== 'request').sort(),
    )
  })

  test.each(Object.keys(INPUTS))('%s', async (name) => {
    const operation = operations().get(name)
    const input = INPUTS[name] ?? {}
    operation?.validateInput(input)
    const { properties } = (operation?.output ?? {}) as { properties: { object: { const: string } } }
    const answer =
      name === 'customers.delete'
        ? { id: 'cus_1', object: 'customer', deleted: true }
        : sample(properties.object.const)
    upstream.reset(json(200, answer))
    const result = await stripe.call(name, { ...input, stripe_account: 'acct_1' })
    expect(result).toEqual({ output: answer, httpStatus: 200 })
    await bySdk(name, input, 'acct_1')
    const [ours, theirs] = upstream.requests
    expect(ours).toMatchObject({ method: theirs?.method, url: theirs?.url, body: theirs?.body })
    const same = ['stripe-version', 'stripe-account', 'authorization', 'accept']
    if (ours?.method === 'POST') same.push('idempotency-key', 'content-type')
    for (const header of same) expect(ours?.headers[header], header).toBe(theirs?.headers[header])
    expect(ours?.headers['idempotency-key']).toBe(ours?.method === 'POST' ? 'orch-key-1' : undefined)
    expect(await stripe.dryRun(name, { ...input, stripe_account: 'acct_1' })).toMatchObject({
      method: ours?.method,
      url: upstream.url + ours?.url,
      headers: { authorization: 'Bearer [secret]', 'stripe-account': 'acct_1' },
      ...(ours?.method === 'POST' && { body: ours.body }),
    })
    expect(upstream.requests).toHaveLength(2)
  })

  test('any parameters, encoded', async () => {
    begin()
    const name = fc.string({ minLength: 1, maxLength: 8, unit: 'grapheme' }).filter((text) => !(text in {}))
    const tree = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        fc.string({ unit: 'grapheme' }),
        fc.integer(),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.boolean(),
        fc.constant(null),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(name, tie('value'), { maxKeys: 3, noNullPrototype: true }),
      ),
    })).value
    await fc.assert(
      fc.asyncProperty(fc.dictionary(name, tree, { maxKeys: 4, noNullPrototype: true }), async (metadata) => {
        upstream.requests.length = 0
        await bySdk('customers.create', { shipping: metadata })
        expect(encodeForm({ shipping: metadata })).toBe(upstream.requests[0]?.body)
      }),
      { numRuns: 60 },
    )
  })
})

describe('any other request', () => {
  test('goes below /v1 with its parameters in the query or the body, and the key with POST only', async () => {
    const { call } = begin(json(200, { anything: 1 }))
    const params = { percent_off: 5, metadata: { a: 'b' } }
    await call('request', { method: 'POST', path: '/coupons', params, stripe_account: 'acct_2' })
    await call('request', { method: 'GET', path: '/coupons/summer-25', params: { expand: ['x'] } })
    await call('request', { method: 'DELETE', path: '/coupons/summer-25' })
    expect(
      upstream.requests.map(({ method, url, body, headers }) => [
        method,
        url,
        body,
        headers['idempotency-key'],
      ]),
    ).toEqual([
      ['POST', '/v1/coupons', 'percent_off=5&metadata[a]=b', 'orch-key-1'],
      ['GET', '/v1/coupons/summer-25?expand[0]=x', '', undefined],
      ['DELETE', '/v1/coupons/summer-25', '', undefined],
    ])
    expect(upstream.requests[0]?.headers['stripe-account']).toBe('acct_2')
  })

  test.each([
    '/../v2/x',
    '/a/../b',
    '/.',
    '/a//b',
    '/a?b=c',
    '/a#b',
    '/a%2fb',
    'coupons',
    '/',
    '//evil.example/x',
    '/v1/coupons',
    '/a/',
  ])('the path %s is refused', async (path) => {
    const { call, connector } = begin()
    const input = { method: 'GET', path }
    expect(() => connector.operations.get('request')?.validateInput(input)).toThrow(Problem)
    if (path === '/v1/coupons')
      await expect(call('request', input)).rejects.toMatchObject({ code: 'input_invalid' })
    expect(upstream.requests).toEqual([])
  })
})

test.each(['..', '.', 'a/b', 'cus_1?x', '', 'a%2fb', 'ä'])(
  'the id %s cannot leave its place in the path',
  (id) => {
    const operation = begin().connector.operations.get('customers.retrieve')
    expect(() => operation?.validateInput({ id })).toThrow(Problem)
  },
)

test('half a character is refused with its path', () => {
  const operation = begin().connector.operations.get('customers.create')
  expect(() => operation?.validateInput({ metadata: { a: 'x\ud800' } })).toThrow(
    '/body/input/metadata/a has broken Unicode.',
  )
})

describe('the account of the settings', () => {
  test('goes with every call, and no call may name another', async () => {
    const { call, connector } = begin(undefined, { account: 'acct_fixed' })
    await call('customers.retrieve', { id: 'cus_1' })
    await call('customers.retrieve', { id: 'cus_1', stripe_account: 'acct_fixed' })
    expect(upstream.requests.map(({ headers }) => headers['stripe-account'])).toEqual([
      'acct_fixed',
      'acct_fixed',
    ])
    const other = { id: 'cus_1', stripe_account: 'acct_other' }
    expect(() => connector.operations.get('customers.retrieve')?.validateInput(other)).toThrow(
      /stripe_account/,
    )
    await expect(call('customers.retrieve', other)).rejects.toMatchObject({ code: 'input_invalid' })
    expect(upstream.requests).toHaveLength(2)
  })

  test('the version of the settings is sent, and without one the default', async () => {
    await begin().call('customers.retrieve', { id: 'cus_1' })
    await connectorWith({ api_version: '2025-01-27.acacia' }).call('customers.retrieve', { id: 'cus_1' })
    expect(upstream.requests.map(({ headers }) => headers['stripe-version'])).toEqual([
      VERSION,
      '2025-01-27.acacia',
    ])
  })
})

test.each([
  ['test', 'sk_live_canary_4eC39HqL', /live mode, but the connector is set to test/],
  ['live', 'rk_test_canary_4eC39HqL', /test mode, but the connector is set to live/],
  ['test', 'pk_test_canary_4eC39HqL', /no secret key of Stripe/],
  ['test', 'sk_test_canary\r\nx: y', /no secret key of Stripe/],
  ['test', '', /no secret key of Stripe/],
])('mode %s refuses the key %j before anything is sent', async (mode, apiKey, message) => {
  begin()
  const connector = connectorWith({ mode }, apiKey)
  const error = await connector.call('customers.retrieve', { id: 'cus_1' }).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 'secret_unresolved', message: expect.stringMatching(message) })
  await expect(connector.dryRun('customers.retrieve', { id: 'cus_1' })).rejects.toMatchObject({
    code: 'secret_unresolved',
  })
  expect(await connector.health()).toMatchObject({ healthy: false, message: expect.stringMatching(message) })
  if (apiKey !== '') expect(JSON.stringify([error, String(error)])).not.toContain(apiKey)
  expect(upstream.requests).toEqual([])
})

const stripeError = (type: string, code?: string, more: object = {}) => ({
  error: { type, ...(code !== undefined && { code }), message: `Words of Stripe about ${KEY}.`, ...more },
})

describe('failures', () => {
  const bad = 'invalid_request_error'
  test.each([
    // status, error, stripe-should-retry, class, kind
    [400, stripeError(bad, 'parameter_missing'), undefined, 'permanent', 'invalid_request_error'],
    [400, stripeError('idempotency_error'), undefined, 'permanent', 'idempotency_error'],
    [401, stripeError(bad), undefined, 'permanent', 'authentication_error'],
    [402, stripeError('card_error', 'card_declined'), undefined, 'permanent', 'card_error'],
    [403, stripeError(bad, 'account_invalid'), undefined, 'permanent', 'permission_error'],
    [404, stripeError(bad, 'resource_missing'), undefined, 'permanent', 'invalid_request_error'],
    [
      409,
      stripeError('idempotency_error', 'idempotency_key_in_use'),
      undefined,
      'safe_to_repeat',
      'conflict',
    ],
    [409, stripeError(bad), 'false', 'permanent', 'conflict'],
    [424, stripeError('api_error'), undefined, 'permanent', 'http_4xx'],
    [429, stripeError(bad, 'rate_limit'), undefined, 'safe_to_repeat', 'http_429'],
    [429, stripeError(bad, 'lock_timeout'), 'true', 'safe_to_repeat', 'lock_timeout'],
    [429, stripeError(bad, 'rate_limit'), 'false', 'permanent', 'http_429'],
    [400, stripeError(bad), 'true', 'safe_to_repeat', 'invalid_request_error'],
    [500, stripeError('api_error'), undefined, 'safe_to_repeat', 'http_5xx'],
    [500, stripeError('api_error'), 'false', 'outcome_unknown', 'http_5xx'],
    [502, '<html>bad gateway</html>', undefined, 'safe_to_repeat', 'http_5xx'],
    [302, {}, undefined, 'permanent', 'http_3xx'],
  ] as const)('%i %j, should retry %s: %s, %s', async (status, body, shouldRetry, failureClass, kind) => {
    const headers = { 'retry-after': '7', ...(shouldRetry && { 'stripe-should-retry': shouldRetry }) }
    const { failing } = begin(json(status, body, headers))
    const failure = await failing('payment_intents.create', { amount: 1, currency: 'eur' })
    expect(failure).toMatchObject({
      class: failureClass,
      kind,
      httpStatus: status,
      retryAfterMs: 7_000,
      upstream: { http_status: status },
    })
    expect(JSON.stringify({ ...failure, message: failure.message })).not.toContain(KEY)
    if (status === 500 && shouldRetry === 'false')
      expect(await failing('customers.retrieve', { id: 'cus_1' })).toMatchObject({ class: 'permanent' })
  })

  test('the excerpt keeps what explains, not the payment with the card in it', async () => {
    const intent = { id: 'pi_1', last_payment_error: { payment_method: { card: { last4: '4242' } } } }
    const details = { decline_code: 'insufficient_funds', param: 'x', charge: 'ch_1', payment_intent: intent }
    const { failing } = begin(json(402, stripeError('card_error', 'card_declined', details)))
    const failure = await failing('payment_intents.confirm', { id: 'pi_1' })
    expect(failure.message).toBe(
      'Stripe answered with HTTP 402 (card_error: card_declined, insufficient_funds).',
    )
    expect(JSON.parse(failure.upstream?.body_excerpt ?? '')).toEqual({
      error: {
        type: 'card_error',
        code: 'card_declined',
        decline_code: 'insufficient_funds',
        param: 'x',
        message: 'Words of Stripe about [secret].',
        charge: 'ch_1',
        payment_intent: 'pi_1',
      },
    })
  })

  test.each([
    '[]',
    '"x"',
    '{"id":',
    '',
    '{"id":"cus_1"}',
    '{"id":1,"object":"customer"}',
    '{"id":"x","object":"refund"}',
  ])('a success with the body %s is final', async (body) => {
    const { failing } = begin((response) => void response.writeHead(200).end(body))
    expect(await failing('customers.create', {})).toMatchObject({
      class: 'permanent',
      kind: 'output_invalid',
    })
    expect(upstream.requests).toHaveLength(1)
  })

  test.each(['customers.create', 'customers.retrieve', 'customers.delete'])(
    'a connection that ends under %s may be repeated',
    async (name) => {
      const { failing } = begin((response) => void response.socket?.destroy())
      const input = name === 'customers.create' ? {} : { id: 'cus_1' }
      expect(await failing(name, input)).toMatchObject({ class: 'safe_to_repeat', kind: 'reset' })
    },
  )
})

test('attempts of one piece of work are the same request under the same key', async () => {
  const { call } = begin()
  for (let attempt = 0; attempt < 2; attempt += 1)
    await call('customers.create', { name: 'Ada' }, { idempotencyKey: 'orch-stable' })
  const [first, second] = upstream.requests
  expect(second).toEqual(first)
  expect(first?.headers['idempotency-key']).toBe('orch-stable')
})

describe('health', () => {
  test.each([
    [200, { object: 'balance', livemode: false }, true, /test mode/],
    [200, { object: 'balance', livemode: true }, false, /another mode/],
    [403, stripeError('invalid_request_error'), true, /may not read the balance/],
    [401, stripeError('invalid_request_error'), false, /HTTP 401/],
    [503, {}, false, /HTTP 503/],
  ])('%i %j: %s', async (status, body, healthy, message) => {
    const { health } = begin(json(status, body))
    expect(await health()).toMatchObject({ healthy, message: expect.stringMatching(message) })
    expect(upstream.requests.map(({ method, url }) => `${method} ${url}`)).toEqual(['GET /v1/balance'])
  })

  test('an account that the key may not act for is not healthy', async () => {
    const { health } = begin(json(403, stripeError('invalid_request_error', 'account_invalid')), {
      account: 'acct_1',
    })
    expect(await health()).toMatchObject({
      healthy: false,
      message: expect.stringMatching(/account_invalid/),
    })
  })
})

test.each([
  ['live', 80],
  ['test', 20],
])('in %s mode a connector sends at most %i calls a second', (mode, permits) => {
  begin()
  expect(connectorWith({ mode }).connector.kindPolicy).toEqual({
    rate_limits: { connector: { mode: 'enforce', permits, period_ms: 1_000, burst: permits } },
  })
})

test.each([
  [{ mode: 'live', base_url: 'http://stripe.example' }, '/settings/base_url'],
  [{ mode: 'test', base_url: 'https://stripe.example/v1' }, '/settings/base_url'],
  [{ mode: 'test', base_url: 'https://u:p@stripe.example' }, '/settings/base_url'],
  [{ mode: 'test', base_url: 'https://stripe.example?x' }, '/settings/base_url'],
  [{ mode: 'test', account: 'cus_1' }, '/settings/account'],
  [{ mode: 'test', api_version: 'latest' }, '/settings/api_version'],
  [{ mode: 'sandbox' }, '/settings/mode'],
])('settings %j have a fault at %s', (settings, path) => {
  const faults = checkConnector('sample', { kind: 'stripe', settings, secrets: { api_key: 'key' } })
  expect(faults.map((fault) => fault.path)).toContain(path)
})
