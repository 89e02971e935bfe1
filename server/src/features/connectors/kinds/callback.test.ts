import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pino } from 'pino'
import { Webhook } from 'standardwebhooks'
import { describe, expect, test } from 'vitest'
import { manualClock } from '../../../../testing/manual-clock.ts'
import { createDial, type Dial } from '../../../platform/dial/dial.ts'
import type { DialRequest } from '../../../platform/dial/dial-request.ts'
import { createMetrics } from '../../../platform/metrics.ts'
import { Secret } from '../../../platform/secret.ts'
import type { CallFailure } from '../../../resilience/failure.ts'
import { compileConnector, dryRunOperation, invokeOperation } from '../connectors.ts'
import { messageId, signatureHeaders } from './callback/sign.ts'

const keyed = (byte: number, length = 32) => `whsec_${Buffer.alloc(length, byte).toString('base64')}`
const NEW = keyed(1)
const OLD = keyed(2)
const MESSAGE = { type: 'invoice.paid', data: { amount: 'ü 5' } }

function setUp(
  values: Record<string, string> = { current: NEW },
  status = 204,
  headers: Record<string, string> = {},
  ask?: Dial['request'],
) {
  // The reference library verifies against the system's clock.
  const clock = manualClock(Date.now())
  const requests: DialRequest[] = []
  const dial: Dial = {
    request: async (request) => {
      requests.push(request)
      if (ask) return ask({ ...request, connectTimeoutMs: 5_000 })
      return { status, headers, body: Buffer.from('no') }
    },
    refusal: () => undefined,
    connect: () => expect.unreachable('nobody connects'),
    close: async () => undefined,
  }
  const secrets = {
    signing_secret: 'current',
    ...(values.previous !== undefined && { previous_signing_secret: 'previous' }),
  }
  const connector = compileConnector({
    name: 'product',
    lane: 1,
    config: { kind: 'callback', settings: { url: 'https://product.example/hook' }, secrets },
  })
  const deliver = (idempotencyKey = 'job-0193') =>
    invokeOperation(
      { dial, clock, resolveSecret: async (name) => new Secret(values[name] ?? '') },
      connector,
      'deliver',
      MESSAGE,
      {
        signal: new AbortController().signal,
        connectTimeoutMs: 1,
        remainingMs: 1,
        idempotencyKey,
        attemptToken: 'a',
        traceparent: '',
      },
    )
  return { clock, requests, deliver, connector }
}

const verified = (secret: string, request: DialRequest | undefined): unknown => {
  try {
    return new Webhook(secret).verify(String(request?.body), { ...request?.headers })
  } catch (error) {
    return (error as Error).message
  }
}

test('a delivery is one that the reference library accepts', async () => {
  const { requests, deliver } = setUp()
  expect(await deliver()).toEqual({ output: { http_status: 204 }, httpStatus: 204 })
  expect(verified(NEW, requests[0])).toEqual(MESSAGE)
  expect(verified(OLD, requests[0])).toMatch(/No matching signature/)
  expect(requests[0]).toMatchObject({ method: 'POST', url: 'https://product.example/hook' })
  expect(requests[0]?.headers['webhook-id']).toBe('job-0193')
})

test('during a rotation receivers with the old and with the new secret accept it', async () => {
  const { requests, deliver } = setUp({ current: NEW, previous: OLD })
  await deliver()
  expect(verified(NEW, requests[0])).toEqual(MESSAGE)
  expect(verified(OLD, requests[0])).toEqual(MESSAGE)
  expect(requests[0]?.headers['webhook-signature']?.split(' ')).toHaveLength(2)
})

test('attempts share the id and the body; timestamp and signature are new', async () => {
  const { clock, requests, deliver } = setUp()
  await deliver()
  await clock.advance(61_000)
  await deliver()
  const [first, second] = requests
  expect(second?.headers['webhook-id']).toBe(first?.headers['webhook-id'])
  expect(second?.body).toBe(first?.body)
  expect(Number(second?.headers['webhook-timestamp']) - Number(first?.headers['webhook-timestamp'])).toBe(61)
  expect(second?.headers['webhook-signature']).not.toBe(first?.headers['webhook-signature'])
})

test('a key that the specification does not allow as an id gives a stable one that it does', () => {
  expect(messageId('inbox-0193_A')).toBe('inbox-0193_A')
  const odd = messageId('order.7/2')
  expect(odd).toMatch(/^msg_[A-Za-z0-9_-]{43}$/)
  expect(messageId('order.7/2')).toBe(odd)
  expect(messageId('order.7/3')).not.toBe(odd)
  expect(messageId('x'.repeat(256))).toMatch(/^msg_/)
})

describe('a signing secret of another form signs nothing', () => {
  test.each([
    ['empty', ''],
    ['without its prefix', NEW.slice(6)],
    ['too short', keyed(1, 23)],
    ['too long', keyed(1, 65)],
    ['no base64', 'whsec_!!!!not base64!!!!not base64!!!!not'],
    ['of the URL alphabet', `whsec_${'-_'.repeat(20)}`],
  ])('%s', async (_name, value) => {
    const { deliver, requests } = setUp({ current: value })
    const error = await deliver().catch((reason: unknown) => reason)
    expect(error).toMatchObject({
      code: 'secret_unresolved',
      message: expect.stringMatching(/signing_secret/),
    })
    if (value !== '') expect(String(error)).not.toContain(value)
    expect(requests).toEqual([])
  })
})

test.each([
  [200, 'done'],
  [299, 'done'],
  [301, 'safe_to_repeat'],
  [400, 'safe_to_repeat'],
  [404, 'safe_to_repeat'],
  [410, 'permanent'],
  [429, 'safe_to_repeat'],
  [503, 'safe_to_repeat'],
])('an answer of HTTP %i is %s', async (status, expected) => {
  const result = await setUp({ current: NEW }, status)
    .deliver()
    .then(
      () => 'done',
      (error: { class: string }) => error.class,
    )
  expect(result).toBe(expected)
})

test.each([
  ['delivered', 200],
  ['http_4xx, HTTP 410, aaaa', 410],
  ['http_5xx, HTTP 503, aaaa', 503],
])(
  'an answer with a body longer than anybody reads is what its status says: %s',
  async (expected, status) => {
    const server = createServer((_request, response) => {
      response.writeHead(status).end('a'.repeat(200_000))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const metrics = createMetrics('test', false)
    const dial = createDial({ allowCidrs: ['127.0.0.0/8'], metrics, log: pino({ level: 'silent' }) })
    const request: Dial['request'] = (asked) => dial.request({ ...asked, url: `http://127.0.0.1:${port}/` })
    try {
      const ended = await setUp({ current: NEW }, 204, {}, request)
        .deliver()
        .then(
          () => 'delivered',
          ({ kind, httpStatus, upstream }: CallFailure) =>
            `${kind}, HTTP ${httpStatus}, ${upstream?.body_excerpt.slice(0, 4)}`,
        )
      expect(ended).toBe(expected)
    } finally {
      await dial.close()
      server.closeAllConnections()
      server.close()
    }
  },
)

test.each([
  ['abort', 500],
  [' Abort ', 410],
  ['abort', 429],
])(
  'a receiver that says "webhook-delivery: %s" to a refusal gets no further attempt',
  async (value, status) => {
    const { deliver } = setUp({ current: NEW }, status, { 'webhook-delivery': value, 'retry-after': '5' })
    expect(await deliver().catch((error: unknown) => error)).toMatchObject({
      ...{ class: 'permanent', kind: 'aborted_by_receiver', httpStatus: status },
      message: `The receiver answered with HTTP ${status} and wants no further attempt of this message.`,
    })
  },
)

test.each(['no', 'aborted', ''])('"webhook-delivery: %s" means nothing', async (value) => {
  const { deliver } = setUp({ current: NEW }, 503, { 'webhook-delivery': value })
  expect(await deliver().catch((error: unknown) => error)).toMatchObject({ kind: 'http_5xx' })
})

test('an abort beside a success is none: the message was taken', async () => {
  const { deliver } = setUp({ current: NEW }, 200, { 'webhook-delivery': 'abort' })
  expect(await deliver()).toMatchObject({ httpStatus: 200 })
})

test('a secret that is being rotated signs with both of its values, and a malformed older one is left out', async () => {
  const sign = (secret: Secret) =>
    signatureHeaders({ id: 'msg', body: '{}', now: 1_000, secrets: { signing_secret: secret } })[
      'webhook-signature'
    ]
  const [byNew, byOld] = [sign(new Secret(NEW)), sign(new Secret(OLD))]
  expect(sign(new Secret(NEW, [new Secret(OLD)]))).toBe(`${byNew} ${byOld}`)
  expect(sign(new Secret(NEW, [new Secret('malformed')]))).toBe(byNew)
  expect(() => sign(new Secret('malformed', [new Secret(OLD)]))).toThrow('must be whsec_')
})

test('only an object can be delivered', () => {
  const operation = setUp().connector.operations.get('deliver')
  expect(() => operation?.validateInput('text')).toThrow(/must be an object/)
  expect(operation?.repeatable).toBe(true)
})

test('a preview shows headers and body, and no signature that anybody could send', async () => {
  const { connector, clock, requests } = setUp({ current: NEW, previous: OLD })
  const preview = (await dryRunOperation(
    { clock, resolveSecret: async (name) => new Secret(name === 'current' ? NEW : OLD) },
    connector,
    'deliver',
    MESSAGE,
    'job-0193',
  )) as { headers: Record<string, string> }
  expect(preview).toMatchObject({ method: 'POST', url: 'https://product.example/hook', body: MESSAGE })
  expect(preview.headers).toMatchObject({
    'webhook-id': 'job-0193',
    'webhook-signature': 'v1,[secret] v1,[secret]',
  })
  expect(requests).toEqual([])
})

test('more deliveries per second than a provider would take, because the receiver is a product', () => {
  expect(setUp().connector.kindPolicy.rate_limits?.connector).toMatchObject({ permits: 100, burst: 200 })
})
