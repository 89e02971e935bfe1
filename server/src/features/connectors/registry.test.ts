import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { manualClock } from '../../../testing/manual-clock.ts'
import { createDial, type Dial } from '../../platform/dial/dial.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { Secret } from '../../platform/secret.ts'
import { CallFailure, FAILURE_CLASSES } from '../../resilience/failure.ts'
import {
  type Connector,
  checkConnector,
  checkConnectorHealth,
  compileConnector,
  dryRunOperation,
  invokeOperation,
  listKinds,
} from './connectors.ts'
import { schemaFaults } from './json-schema.ts'
import { BILLING } from './kinds/stripe/billing.ts'
import { EVENTS } from './kinds/stripe/events.ts'
import { inputOf, type StripeOperation } from './kinds/stripe/operation.ts'
import { PAYMENTS } from './kinds/stripe/payments.ts'
import { KINDS } from './registry.ts'

/** One connector and one input per kind, with every operation callable: a new kind adds its own. */
const SAMPLES: Record<
  string,
  (url: string) => {
    config: { settings: Record<string, unknown>; secrets: Record<string, string> }
    inputs: Record<string, unknown>
    /** False for kinds that the HTTP server here cannot stand in for: their own tests have a server of their kind. */
    http?: false
    /** Operations that call nobody. */
    offline?: readonly string[]
    /** What a success holds besides what every upstream here echoes, or all of it as text; by operation. */
    answers?: Record<string, Record<string, unknown> | string>
  }
> = {
  callback: (url) => ({
    config: { settings: { url }, secrets: { signing_secret: 'signing', previous_signing_secret: 'signing' } },
    inputs: { deliver: { hello: 'world' } },
  }),
  http: (url) => ({
    config: {
      settings: {
        base_url: url,
        auth: { type: 'bearer' },
        operations: {
          read: { method: 'GET', path: '/things' },
          write: {
            method: 'POST',
            path: '/things',
            body: '{{input}}',
            idempotency_key_header: 'Idempotency-Key',
          },
        },
      },
      secrets: { token: 'token' },
    },
    inputs: { read: {}, write: { a: 1 } },
  }),
  s3: (url) => ({
    config: {
      settings: { bucket: 'things', region: 'us-east-1', endpoint: url, path_style: true },
      secrets: { access_key_id: 'token', secret_access_key: 'token' },
    },
    inputs: {
      put: { key: 'a', content_text: 'x' },
      get: { key: 'a' },
      head: { key: 'a' },
      delete: { key: 'a' },
      list: {},
      presign: { key: 'a', method: 'get' },
    },
    offline: ['presign'],
    answers: { list: '<ListBucketResult></ListBucketResult>' },
  }),
  smtp: (url) => ({
    config: {
      settings: {
        host: new URL(url).hostname,
        port: Number(new URL(url).port) || 587,
        tls: 'starttls',
        from: 'shop@shop.example',
      },
      secrets: { username: 'token', password: 'token' },
    },
    inputs: { send: { to: ['ada@example.com'], subject: 'Hello', text: 'Hi.' } },
    http: false,
  }),
  stripe: (url) => {
    const given: Record<string, unknown> = { id: 'x_1', query: 'a', items: [], amount: 1, currency: 'eur' }
    const operations = Object.entries({ ...BILLING, ...PAYMENTS, ...EVENTS })
    const required = (operation: StripeOperation) => inputOf(operation).required as string[]
    return {
      config: { settings: { mode: 'test', base_url: url }, secrets: { api_key: 'token' } },
      inputs: {
        ...Object.fromEntries(
          operations.map(([name, operation]) => [
            name,
            Object.fromEntries(required(operation).map((field) => [field, given[field]])),
          ]),
        ),
        request: { method: 'POST', path: '/coupons' },
      },
      answers: Object.fromEntries(
        operations.map(([name, { answers }]) => [
          name,
          { id: 'x_1', object: answers, data: [], has_more: false },
        ]),
      ),
    }
  },
}
const SECRETS: Record<string, string> = {
  signing: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
  token: 'sk_test_canary_0123456789',
}

let answer = { status: 200, body: '{}' }
let requests: { method: string | undefined; headers: Record<string, unknown>; body: string }[] = []
const server = createServer(async (request, response) => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  requests.push({ method: request.method, headers: request.headers, body: Buffer.concat(chunks).toString() })
  response
    .writeHead(answer.status, { 'content-type': 'application/json', 'retry-after': '3' })
    .end(answer.body)
})
let dial: Dial
let url: string

beforeAll(async () => {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  dial = createDial({
    allowCidrs: ['127.0.0.1/32'],
    metrics: createMetrics('test', false),
    log: pino({ level: 'silent' }),
  })
})
afterAll(async () => {
  await dial.close()
  server.close()
})

/** Fields of a form that have no title or no description for people, by their paths. */
function namelessFields(schema: unknown, path: string): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const {
    properties = {},
    patternProperties = {},
    items,
    anyOf = [],
  } = schema as Record<string, object | undefined>
  const nameless = Object.entries(properties as Record<string, { title?: string; description?: string }>)
    .filter(([, field]) => !/\w/.test(field.title ?? '') || !/\w/.test(field.description ?? ''))
    .map(([name]) => `${path}/${name}`)
  const inside = [
    ...Object.entries(properties),
    ...Object.entries(patternProperties),
    ['items', items],
  ] as const
  return [
    ...nameless,
    ...[...inside, ...Object.entries(anyOf)].flatMap(([name, field]) =>
      namelessFields(field, `${path}/${String(name)}`),
    ),
  ]
}

test('every file in kinds/ is registered under its own name, and nothing else is', () => {
  // What a kind consists of besides lies in a folder of its name.
  const files = readdirSync(new URL('kinds/', import.meta.url)).filter(
    (name) => name.endsWith('.ts') && !name.endsWith('.test.ts'),
  )
  expect(KINDS.map(({ kind }) => `${kind}.ts`).sort()).toEqual(files.sort())
  expect(Object.keys(SAMPLES).sort(), 'every kind has a sample').toEqual(KINDS.map(({ kind }) => kind).sort())
})

test('kinds describe themselves in plain JSON', () => {
  const kinds = listKinds()
  expect(JSON.parse(JSON.stringify(kinds))).toEqual(kinds)
})

describe.each(KINDS)('kind $kind', (kind) => {
  const sample = SAMPLES[kind.kind]
  if (!sample) throw new Error(`add a sample for the kind ${kind.kind}`)
  const { inputs, answers = {}, http: overHttp = true, offline = [] } = sample('http://127.0.0.1')
  const sent = overHttp ? Object.keys(inputs).filter((name) => !offline.includes(name)) : []
  const bodyOf = (name: string, echo: object) => {
    const told = answers[name]
    return typeof told === 'string' ? told : JSON.stringify({ ...told, ...echo })
  }
  const connector = () => {
    const { config } = sample(url)
    return compileConnector({ name: 'sample', lane: 1, config: { kind: kind.kind, ...config } })
  }
  const deps = {
    clock: manualClock(),
    resolveSecret: async (name: string) => new Secret(SECRETS[name] ?? ''),
  }
  const healthOf = (of: Connector) =>
    checkConnectorHealth({ dial, ...deps }, of, {
      signal: AbortSignal.timeout(5_000),
      connectTimeoutMs: 5_000,
    })
  const call = (operation: string, idempotencyKey = 'key-1', signal = new AbortController().signal) =>
    invokeOperation({ dial, ...deps }, connector(), operation, inputs[operation], {
      signal,
      connectTimeoutMs: 5_000,
      remainingMs: 5_000,
      idempotencyKey,
      attemptToken: 'attempt-1',
      traceparent: '00-1-2-01',
    })
  const secretValues = () => Object.values(connector().secretRefs).map((name) => SECRETS[name] ?? '')
  const failureOf = (result: Promise<unknown>) =>
    result.then(
      () => expect.unreachable('it succeeded'),
      (error: unknown) => error as CallFailure,
    )

  test('has a title, and settings that are closed and described field by field', () => {
    expect(kind.title).not.toBe('')
    expect(kind.description).not.toBe('')
    expect(kind.settings).toMatchObject({ additionalProperties: false })
    expect(namelessFields(kind.settings, '/settings')).toEqual([])
    for (const [name, secret] of Object.entries(kind.secrets)) {
      expect(name).toMatch(/^[a-z]+(_[a-z]+)*$/)
      expect([secret.title, secret.description].every((text) => text !== '')).toBe(true)
    }
  })

  test('takes its sample, and refuses it with a field or a secret too many or with no settings', () => {
    const { config } = sample('https://api.example')
    const check = (change: object) => checkConnector('sample', { kind: kind.kind, ...config, ...change })
    expect(check({})).toEqual([])
    expect(check({ settings: { ...config.settings, surplus: 1 } }).map(({ path }) => path)).toContain(
      '/settings/surplus',
    )
    expect(check({ secrets: { ...config.secrets, surplus: 'x' } }).map(({ path }) => path)).toContain(
      '/secrets/surplus',
    )
    expect(check({ settings: {} }).length).toBeGreaterThan(0)
  })

  test('names its targets, so that one that can never be dialled is refused when it is saved', () => {
    const { config } = sample('http://10.0.0.1')
    const faults = checkConnector('sample', { kind: kind.kind, ...config }, { refusal: dial.refusal })
    expect(faults).toEqual([
      { path: expect.stringMatching(/^\/settings\//), message: expect.stringMatching(/cannot be dialled/) },
    ])
  })

  test('has operations with usable names and schemas', () => {
    const { operations } = connector()
    expect([...operations.keys()].sort()).toEqual(Object.keys(inputs).sort())
    for (const [name, operation] of operations) {
      expect(name).toMatch(/^[a-z0-9]+([._-][a-z0-9]+)*$/)
      expect(operation.title).not.toBe('')
      expect(namelessFields(operation.input, '/input')).toEqual([])
      expect(schemaFaults(operation.input)).toEqual([])
      expect(schemaFaults(operation.output)).toEqual([])
      operation.validateInput(inputs[name])
    }
  })

  test.each(Object.keys(inputs))(
    '%s: a dry run is plain JSON that shows the input, and holds no secret; nobody is called',
    async (name) => {
      requests = []
      const preview = await dryRunOperation(deps, connector(), name, inputs[name], 'stable-key')
      expect(JSON.parse(JSON.stringify(preview))).toEqual(preview)
      expect(Object.keys(preview as object)).not.toEqual([])
      for (const value of secretValues())
        for (const spelling of [value, Buffer.from(value).toString('base64').replace(/=+$/, '')])
          expect(JSON.stringify(preview)).not.toContain(spelling)
      expect(requests).toEqual([])
    },
  )

  test('a health check of a place where nobody is says so and does not throw', async () => {
    const { config } = sample('http://127.0.0.1:1')
    const health = await healthOf(
      compileConnector({ name: 'sample', lane: 1, config: { kind: kind.kind, ...config } }),
    )
    expect(health).toMatchObject({ healthy: false, message: expect.stringMatching(/\w.*\.$/) })
  })

  // A kind that does not speak HTTP has no status: its own tests know its answers.
  test.each(overHttp ? [200, 401, 404, 503] : [])(
    'a health check asks once, has no effect there, and holds no secret: HTTP %i',
    async (status) => {
      requests = []
      answer = { status, body: JSON.stringify({ echo: secretValues() }) }
      const health = await healthOf(connector())
      expect(health).toMatchObject({ healthy: expect.any(Boolean), message: expect.stringMatching(/\w/) })
      for (const value of secretValues()) expect(JSON.stringify(health)).not.toContain(value)
      expect(requests.map(({ method }) => method)).toEqual([expect.stringMatching(/^(GET|HEAD)$/)])
    },
  )

  test.each(sent)(
    '%s: one attempt is one request, with attempt and trace, and no secret in the result',
    async (name) => {
      requests = []
      answer = { status: 200, body: bodyOf(name, { echo: secretValues() }) }
      const result = await call(name)
      expect(requests).toHaveLength(1)
      expect(requests[0]?.headers).toMatchObject({
        'x-orchestrator-attempt': 'attempt-1',
        traceparent: '00-1-2-01',
      })
      expect(result.httpStatus).toBe(200)
      for (const value of secretValues()) expect(JSON.stringify(result)).not.toContain(value)
    },
  )

  test.each(sent)(
    '%s: failures are CallFailures with a class, are not retried inside, and hold no secret',
    async (name) => {
      for (const status of [302, 400, 408, 410, 429, 500, 503]) {
        requests = []
        answer = { status, body: JSON.stringify({ error: secretValues() }) }
        const failure = await failureOf(call(name))
        expect(failure).toBeInstanceOf(CallFailure)
        expect(FAILURE_CLASSES).toContain(failure.class)
        expect(failure).toMatchObject({
          httpStatus: status,
          retryAfterMs: 3_000,
          upstream: { http_status: status },
        })
        for (const value of secretValues())
          expect(JSON.stringify({ ...failure, message: failure.message })).not.toContain(value)
        expect(requests).toHaveLength(1)
      }
    },
  )

  test.each(Object.keys(inputs))('%s: an aborted attempt ends, and is never sent', async (name) => {
    requests = []
    const failure = await failureOf(call(name, 'key', AbortSignal.abort(new Error('cancelled'))))
    expect(failure).toMatchObject({ class: 'never_sent', kind: 'aborted' })
    expect(requests).toEqual([])
  })

  test.each(sent)(
    '%s: sends the same idempotency key on every attempt, if its upstream takes one',
    async (name) => {
      answer = { status: 200, body: bodyOf(name, {}) }
      requests = []
      for (let attempt = 0; attempt < 2; attempt += 1) await call(name, 'stable-key')
      const sent = requests.map(({ headers }) => Object.values(headers).includes('stable-key'))
      const expected = connector().operations.get(name)?.takesIdempotencyKey ?? false
      expect(sent).toEqual([expected, expected])
    },
  )
})
