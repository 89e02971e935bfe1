import { Problem, type ProblemDetail } from '../../../problems.ts'
import {
  defineConnector,
  type Health,
  type HealthContext,
  type InvokeContext,
  type JsonSchema,
  type Operation,
} from '../define-connector.ts'
import { isObject } from '../schema-rules.ts'
import { MASK } from '../scrub.ts'
import { BILLING } from './stripe/billing.ts'
import { EVENTS } from './stripe/events.ts'
import { failureOfStripe } from './stripe/failure.ts'
import { unencodable } from './stripe/form.ts'
import { inputOf, outputOf, STRIPE_ACCOUNT, type StripeOperation } from './stripe/operation.ts'
import { PAYMENTS } from './stripe/payments.ts'
import { authorization, readObject, type StripeCall, writeRequest } from './stripe/request.ts'
import { baseUrlOf, StripeSettings, stripeFaults } from './stripe/settings.ts'

/** A page of a hundred objects with others expanded in them. */
const MAX_RESPONSE_BYTES = 2 * 1024 * 1024

/** Stripe's API for payments and billing, without its SDK: retries, limits and the network are the hub's. */
export const stripe = defineConnector({
  kind: 'stripe',
  title: 'Stripe',
  description:
    'Payments and billing at Stripe: customers, checkout, subscriptions, invoices, payments, refunds, and any other path.',
  settings: StripeSettings,
  secrets: {
    api_key: {
      title: 'Secret key',
      description:
        'From the dashboard of Stripe: `sk_test_…` or `sk_live_…`, or better a restricted key (`rk_…`) with the rights that are needed. Must be of the mode of the settings.',
      required: true,
    },
  },
  // Stripe takes 100 calls a second in live mode and 25 in test mode: some are left for calls past the hub.
  policy: ({ mode }) => {
    const permits = mode === 'live' ? 80 : 20
    return { rate_limits: { connector: { mode: 'enforce', permits, period_ms: 1_000, burst: permits } } }
  },
  check: stripeFaults,
  targets: (settings) => [{ path: '/settings/base_url', url: baseUrlOf(settings) }],
  operations: (settings) => ({
    ...Object.fromEntries(
      Object.entries({ ...BILLING, ...PAYMENTS, ...EVENTS }).map(([name, operation]) => [
        name,
        describedOperation(settings, operation),
      ]),
    ),
    request: rawOperation(settings),
  }),
  checkHealth,
})

type Input = Readonly<Record<string, unknown>>

const describedOperation = (settings: StripeSettings, operation: StripeOperation): Operation => ({
  title: operation.title,
  description: operation.description,
  input: inputOf(operation),
  output: outputOf(operation),
  ...callsBy(settings, (input) => {
    const { id, stripe_account: account, ...rest } = input
    const named = operation.path.includes('{id}')
    return {
      method: operation.method,
      path: named ? operation.path.replace('{id}', encodeURIComponent(String(id))) : operation.path,
      params: named || id === undefined ? rest : { id, ...rest },
      account: account as string | undefined,
    }
  }),
  safe: operation.method === 'GET',
  idempotent: operation.method === 'DELETE',
  takesIdempotencyKey: operation.method === 'POST',
})

const RAW_INPUT: JsonSchema = {
  type: 'object',
  properties: {
    method: {
      type: 'string',
      title: 'Method',
      enum: ['GET', 'POST', 'DELETE'],
      description: 'HTTP method.',
    },
    path: {
      type: 'string',
      title: 'Path',
      description: "Path below `/v1`, e.g. `/coupons/summer`; see Stripe's API reference.",
      pattern: '^(/[A-Za-z0-9_][A-Za-z0-9_.@+-]*)+$',
      maxLength: 500,
    },
    params: {
      type: 'object',
      title: 'Parameters',
      description: 'As in the API reference: objects and lists inside each other.',
    },
    stripe_account: STRIPE_ACCOUNT,
  },
  required: ['method', 'path'],
  additionalProperties: false,
}

/** Not `safe`, because a method can be chosen that is not; whatever it calls may be repeated. */
const rawOperation = (settings: StripeSettings): Operation => ({
  title: 'Any other request',
  description: "Calls any path of Stripe's API that has no operation here.",
  input: RAW_INPUT,
  output: { type: 'object', description: 'What Stripe answers.' },
  ...callsBy(
    settings,
    (input) => ({
      method: input.method as StripeCall['method'],
      path: `/v1${input.path}`,
      params: isObject(input.params) ? input.params : {},
      account: input.stripe_account as string | undefined,
    }),
    ({ path }) =>
      /^\/v1\/v1(\/|$)/.test(path)
        ? [{ path: '/path', message: 'starts below /v1: write /coupons, not /v1/coupons' }]
        : [],
  ),
  safe: false,
  takesIdempotencyKey: true,
  sendsKey: (input) => isObject(input) && input.method === 'POST',
})

/** What all operations have in common; `callOf` is given inputs that fit the schema. */
function callsBy(
  settings: StripeSettings,
  callOf: (input: Input) => StripeCall,
  faultsOf: (call: StripeCall) => readonly ProblemDetail[] = () => [],
): Pick<Operation, 'checkInput' | 'invoke' | 'dryRun'> {
  const toCall = (input: unknown): StripeCall => callOf(isObject(input) ? input : {})

  const checkInput = (input: unknown) => {
    const call = toCall(input)
    const { account } = call
    const other = settings.account !== undefined && account !== undefined && account !== settings.account
    return [
      ...unencodable(input),
      ...faultsOf(call),
      ...(other
        ? [{ path: '/stripe_account', message: 'is not the account that the connector is set to' }]
        : []),
    ]
  }

  const write = ({ input, idempotencyKey }: Pick<InvokeContext, 'input' | 'idempotencyKey'>) => {
    const details = checkInput(input)
    if (details.length > 0)
      throw new Problem('input_invalid', 'The input cannot be sent to the upstream.', { details })
    return writeRequest(settings, toCall(input), idempotencyKey)
  }

  const invoke = async (context: InvokeContext) => {
    const request = write(context)
    const response = await context.dial.request({
      ...request,
      headers: {
        ...request.headers,
        authorization: authorization(settings, context.secrets.api_key),
        'x-orchestrator-attempt': context.attemptToken,
        ...(context.traceparent !== '' && { traceparent: context.traceparent }),
      },
      signal: context.signal,
      connectTimeoutMs: context.connectTimeoutMs,
      maxResponseBytes: MAX_RESPONSE_BYTES,
    })
    const { status, body } = response
    if (status < 200 || status > 299) throw failureOfStripe(response, request.method, context.clock.now())
    return { output: readObject(body, status), httpStatus: status }
  }

  const dryRun: Operation['dryRun'] = (context) => {
    authorization(settings, context.secrets.api_key)
    const request = write(context)
    return { ...request, headers: { ...request.headers, authorization: `Bearer ${MASK}` } }
  }

  return { checkInput, invoke, dryRun }
}

/** Reads the balance: every account has one, and its `livemode` is Stripe's own word for the mode of the key. */
async function checkHealth(settings: StripeSettings, context: HealthContext): Promise<Health> {
  const request = writeRequest(settings, { method: 'GET', path: '/v1/balance', params: {} }, '')
  const response = await context.dial.request({
    ...request,
    headers: { ...request.headers, authorization: authorization(settings, context.secrets.api_key) },
    signal: context.signal,
    connectTimeoutMs: context.connectTimeoutMs,
    maxResponseBytes: MAX_RESPONSE_BYTES,
  })
  const { status, headers, body } = response
  const details = {
    http_status: status,
    api_version: headers['stripe-version'] ?? request.headers['stripe-version'],
  }
  // A restricted key without this right: Stripe knows the key, and has said so. Of a connected account that would
  // not be told apart from one that the key may not act for.
  if (status === 403 && settings.account === undefined)
    return { healthy: true, message: 'Stripe takes the key, which may not read the balance.', details }
  if (status < 200 || status > 299)
    return {
      healthy: false,
      message: failureOfStripe(response, 'GET', context.clock.now()).message,
      details,
    }
  const { livemode } = readObject(body, status)
  const live = settings.mode === 'live'
  return livemode === live
    ? {
        healthy: true,
        message: `Stripe takes the key, in ${settings.mode} mode.`,
        details: { ...details, livemode },
      }
    : {
        healthy: false,
        message: `Stripe answered for another mode than ${settings.mode}.`,
        details: { ...details, livemode: livemode ?? null },
      }
}
