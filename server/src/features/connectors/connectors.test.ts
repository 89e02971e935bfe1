import { describe, expect, test } from 'vitest'
import { manualClock } from '../../../testing/manual-clock.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { DialFailure } from '../../platform/dial/dial-failure.ts'
import type { DialRequest, DialResponse } from '../../platform/dial/dial-request.ts'
import { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import {
  checkConnector,
  compileConnector,
  describeOperations,
  findOperation,
  invokeOperation,
} from './connectors.ts'

const INPUT = {
  type: 'object',
  properties: {
    id: { type: 'string', minLength: 1 },
    amount: { type: 'integer', minimum: 1 },
    note: { type: 'string' },
    who: { type: 'object', properties: { name: { type: 'string' } } },
    tags: { type: 'array', items: { type: 'string' } },
  },
  required: ['id'],
  additionalProperties: false,
}

/** A connector of kind `http` with one operation `charge`, each part replaceable. */
const httpConfig = (
  operation: Record<string, unknown> = {},
  settings: Record<string, unknown> = {},
  secrets = { token: 'stripe-key' },
) => ({
  kind: 'http',
  settings: {
    base_url: 'https://api.example/v1',
    auth: { type: 'bearer' },
    operations: {
      charge: {
        method: 'POST',
        path: '/customers/{id}/charges',
        query: { expand: '{{input.tags}}' },
        headers: { 'x-note': '{{input.note}}' },
        body: { amount: '{{input.amount}}', for: 'customer {{input.id}}' },
        input: INPUT,
        output: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] },
        ...operation,
      },
    },
    ...settings,
  },
  secrets,
})

const paths = (config: unknown, name = 'stripe') => checkConnector(name, config).map(({ path }) => path)
const op = (rest: string) => `/settings/operations/charge/${rest}`

describe('what may be saved', () => {
  test('a full connector', () => {
    expect(checkConnector('stripe', httpConfig())).toEqual([])
    expect(
      checkConnector('stripe', { ...httpConfig(), title: 'Stripe', description: 'x', policy: 'strict' }),
    ).toEqual([])
  })

  test.each([
    ['no object', 'x', ['']],
    ['no kind', { settings: {} }, ['/kind']],
    ['an unknown field', { ...httpConfig(), retries: 3 }, ['/retries']],
    ['an unknown kind', { ...httpConfig(), kind: 'ftp' }, ['/kind']],
    ['a kind from the prototype', { ...httpConfig(), kind: 'constructor' }, ['/kind']],
    ['an unknown setting', httpConfig({}, { proxy: 'x' }), ['/settings/proxy']],
    ['a secret ref that is no name', httpConfig({}, {}, { token: 'sk_live_123' }), ['/secrets/token']],
    [
      'an unknown secret',
      httpConfig({}, {}, { token: 'a', constructor: 'b' } as { token: string }),
      ['/secrets/constructor'],
    ],
    ['auth without its secret', { ...httpConfig(), secrets: {} }, ['/secrets/token']],
    ['a secret that nothing sends', httpConfig({}, { auth: { type: 'none' } }), ['/secrets/token']],
    [
      'a header auth without a header',
      httpConfig({}, { auth: { type: 'header' } }),
      ['/settings/auth/header'],
    ],
    [
      'a bearer auth with a header',
      httpConfig({}, { auth: { type: 'bearer', header: 'x' } }),
      ['/settings/auth/header'],
    ],
    [
      'an auth header that frames',
      httpConfig({}, { auth: { type: 'header', header: 'Host' } }),
      ['/settings/auth/header'],
    ],
    ['no operation', httpConfig({}, { operations: {} }), ['/settings/operations']],
    [
      'an operation with an odd name',
      httpConfig({}, { operations: { 'a/b': { method: 'GET', path: '/' } } }),
      ['/settings/operations/a~1b'],
    ],
    ['a base URL of another scheme', httpConfig({}, { base_url: 'ftp://x' }), ['/settings/base_url']],
    ['a base URL with a query', httpConfig({}, { base_url: 'https://x/?a=b' }), ['/settings/base_url']],
    ['a base URL with a password', httpConfig({}, { base_url: 'https://a:b@x/' }), ['/settings/base_url']],
    ['a base URL that is none', httpConfig({}, { base_url: 'https://' }), ['/settings/base_url']],
    ['an unknown method', httpConfig({ method: 'TRACE' }), [op('method')]],
    ['a body on GET', httpConfig({ method: 'GET' }), [op('body')]],
    [
      'credentials in a header',
      httpConfig({ headers: { Authorization: 'Bearer x' } }),
      [op('headers/Authorization')],
    ],
    [
      'credentials in a header for all',
      httpConfig({}, { headers: { cookie: 'a=b' } }),
      ['/settings/headers/cookie'],
    ],
    [
      'a header of the hub',
      httpConfig({ headers: { 'X-Orchestrator-Attempt': 'x' } }),
      [op('headers/X-Orchestrator-Attempt')],
    ],
    [
      'a header that frames',
      httpConfig({ headers: { 'Transfer-Encoding': 'chunked' } }),
      [op('headers/Transfer-Encoding')],
    ],
    ['a header name with a line feed', httpConfig({ headers: { 'a\nb': 'x' } }), [op('headers/a\nb')]],
    ['a header value with a line feed', httpConfig({ headers: { a: 'x\r\nb: c' } }), [op('headers/a')]],
    [
      'the header of the idempotency key, set by hand',
      httpConfig({ headers: { 'idempotency-key': 'x' }, idempotency_key_header: 'Idempotency-Key' }),
      [op('headers/idempotency-key')],
    ],
    [
      'a key header that is taken',
      httpConfig({ idempotency_key_header: 'content-length' }),
      [op('idempotency_key_header')],
    ],
    ['a path that starts elsewhere', httpConfig({ path: 'customers/{id}' }), [op('path')]],
    ['a path with a query', httpConfig({ path: '/customers/{id}?a=b' }), [op('path')]],
    ['a path that climbs', httpConfig({ path: '/customers/../{id}' }), [op('path')]],
    ['a path that climbs in disguise', httpConfig({ path: '/customers/%2E./{id}' }), [op('path')]],
    ['a path with an empty segment', httpConfig({ path: '//evil.example/{id}' }), [op('path')]],
    ['a path with a line feed', httpConfig({ path: '/a\n/{id}' }), [op('path')]],
    ['a path with a backslash', httpConfig({ path: '/a\\{id}' }), [op('path')]],
    ['a path with an empty field', httpConfig({ path: '/{}' }), [op('path')]],
    ['a path field that the schema lacks', httpConfig({ path: '/{customer}' }), [op('path')]],
    ['a path field that is optional', httpConfig({ path: '/{note}' }), [op('path')]],
    ['a path field that is an object', httpConfig({ path: '/{who}' }), [op('path')]],
    ['a query field that the schema lacks', httpConfig({ query: { a: '{{input.b}}' } }), [op('query/a')]],
    ['a header field that is a list', httpConfig({ headers: { a: '{{input.tags}}' } }), [op('headers/a')]],
    [
      'an optional field inside a text',
      httpConfig({ headers: { a: 'x {{input.note}}' } }),
      [op('headers/a')],
    ],
    [
      'a body field that the schema lacks',
      httpConfig({ body: { a: [{ b: '{{input.c}}' }] } }),
      [op('body/a/0/b')],
    ],
    ['a body field below a field that is no object', httpConfig({ body: '{{input.id.x}}' }), [op('body')]],
    ['a template that does not begin with input', httpConfig({ body: '{{secrets.token}}' }), [op('body')]],
    ['a template that does not end', httpConfig({ body: '{{input.id' }), [op('body')]],
    [
      'a field without a schema',
      httpConfig({ input: undefined, path: '/{id}', query: {}, headers: {}, body: '{{input}}' }),
      [op('path')],
    ],
    [
      'an input schema with a remote reference',
      httpConfig({ input: { $ref: 'https://x/y' } }),
      [op('input/$ref')],
    ],
    ['an output schema with an unknown keyword', httpConfig({ output: { tipe: 'object' } }), [op('output')]],
    [
      'several faults at once',
      httpConfig({ method: 'X', safe: 'yes' }, { surplus: 1 }),
      ['/settings/surplus', op('method'), op('safe')],
    ],
  ])('not: %s', (_name, config, expected) => {
    // JSON has no undefined.
    expect(paths(JSON.parse(JSON.stringify(config))).sort()).toEqual([...expected].sort())
  })

  test.each(['', 'Stripe', 'a b', '-a', 'a--b', 'x'.repeat(64), 'kinds'])(
    'not under the name "%s"',
    (name) => {
      expect(paths(httpConfig(), name)).toEqual([''])
    },
  )

  test('fields are found through references and alternatives', () => {
    const input = {
      type: 'object',
      $defs: { customer: { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] } },
      allOf: [
        { type: 'object', properties: { customer: { $ref: '#/$defs/customer' } }, required: ['customer'] },
      ],
      anyOf: [{ type: 'object', properties: { note: { type: 'string' } } }, { type: 'object' }],
    }
    const operation = {
      input,
      path: '/{customer.id}',
      query: { n: '{{input.note}}' },
      headers: {},
      body: '{{input.customer}}',
    }
    expect(checkConnector('stripe', httpConfig(operation))).toEqual([])
  })

  test('schemas that are too large together', () => {
    const input = { type: 'object', description: 'x'.repeat(60_000) }
    const operations = Object.fromEntries(
      [1, 2, 3, 4, 5].map((n) => [`o${n}`, { method: 'GET', path: '/', input }]),
    )
    expect(paths(httpConfig({}, { operations }))).toEqual(['/settings/operations'])
  })
})

/** A connector compiled from `httpConfig`, over a dial that records what it is asked and answers as told. */
function setUp(
  answer: (Partial<Omit<DialResponse, 'body'>> & { body?: string }) | DialFailure,
  config = httpConfig(),
) {
  const requests: DialRequest[] = []
  const dial: Dial = {
    request: async (request) => {
      requests.push(request)
      if (answer instanceof DialFailure) throw answer
      const { status = 200, headers = { 'content-type': 'application/json' }, body = '{"ok":true}' } = answer
      return { status, headers, body: Buffer.from(body) }
    },
    refusal: () => undefined,
    connect: () => expect.unreachable('nobody connects'),
    close: async () => undefined,
  }
  const connector = compileConnector({ name: 'stripe', lane: 3, config })
  const call = (
    input: unknown = { id: 'cus_1', amount: 5 },
    secret = 'sk_test_0123456789',
    operation = 'charge',
  ) =>
    invokeOperation(
      {
        dial,
        clock: manualClock(),
        resolveSecret: async (ref) => new Secret(`${secret}${ref === 'stripe-key' ? '' : ' wrong ref'}`),
      },
      connector,
      operation,
      input,
      {
        signal: new AbortController().signal,
        connectTimeoutMs: 3_000,
        remainingMs: 10_000,
        idempotencyKey: 'key-1',
        attemptToken: 'attempt-1',
        traceparent: '',
      },
    )
  return { connector, requests, call }
}

const problemOf = (run: () => unknown) => {
  try {
    run()
  } catch (error) {
    if (error instanceof Problem) return error
    throw error
  }
  return expect.unreachable('no problem')
}

describe('an operation', () => {
  test('is found by its name only', () => {
    const { connector } = setUp({})
    expect(findOperation(connector, 'charge').name).toBe('charge')
    for (const name of ['refund', 'constructor', ''])
      expect(problemOf(() => findOperation(connector, name)).code).toBe('operation_not_found')
  })

  test('is described with its schemas', () => {
    const { connector } = setUp({})
    expect(describeOperations(connector)).toEqual([
      {
        name: 'charge',
        title: 'charge',
        description: '',
        input: INPUT,
        output: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] },
        safe: false,
        idempotent: false,
        takes_idempotency_key: false,
      },
    ])
  })

  test('tells every fault of an input, with its path in what was sent', () => {
    const operation = findOperation(setUp({}).connector, 'charge')
    operation.validateInput({ id: 'a' })
    const problem = problemOf(() => operation.validateInput({ amount: 0, tags: [1], typo: 1 }))
    expect(problem.code).toBe('input_invalid')
    expect(problem.extra.details?.map(({ path }) => path).sort()).toEqual([
      '/body/input/amount',
      '/body/input/id',
      '/body/input/tags/0',
      '/body/input/typo',
    ])
    expect(problemOf(() => operation.validateInput(7, '/body/jobs/2/input')).extra.details).toEqual([
      { path: '/body/jobs/2/input', message: 'must be an object' },
    ])
  })

  test('refuses an input that fits the schema but cannot be sent', () => {
    const operation = findOperation(setUp({}).connector, 'charge')
    for (const [input, path] of [
      [{ id: '..' }, '/body/input/id'],
      [{ id: 'a', note: 'x\r\ny: z' }, '/body/input/note'],
    ] as const) {
      const problem = problemOf(() => operation.validateInput(input))
      expect(problem.code).toBe('input_invalid')
      expect(problem.extra.details?.[0]?.path).toBe(path)
    }
  })

  test('is repeatable when it is safe or keyed', () => {
    const repeatable = (operation: Record<string, unknown>) =>
      findOperation(setUp({}, httpConfig(operation)).connector, 'charge').repeatable
    expect(repeatable({})).toBe(false)
    expect(repeatable({ safe: true })).toBe(true)
    expect(repeatable({ idempotency_key_header: 'Idempotency-Key' })).toBe(true)
    expect(repeatable({ method: 'GET', body: undefined })).toBe(true)
    expect(repeatable({ method: 'GET', body: undefined, safe: false })).toBe(false)
    expect(repeatable({ method: 'DELETE' })).toBe(false)
    expect(repeatable({ method: 'DELETE', idempotent: true })).toBe(true)
  })
})

describe('one attempt', () => {
  test('sends what the config describes, and gives the answer', async () => {
    const { call, requests } = setUp(
      {},
      httpConfig({ idempotency_key_header: 'Idempotency-Key' }, { headers: { 'X-Version': '7' } }),
    )
    expect(await call({ id: 'cus/1', amount: 5, note: 'hi', tags: ['a', 'b'] })).toEqual({
      output: { ok: true },
      httpStatus: 200,
    })
    expect(requests).toEqual([
      {
        method: 'POST',
        url: 'https://api.example/v1/customers/cus%2F1/charges?expand=a&expand=b',
        headers: {
          accept: 'application/json',
          'user-agent': 'orchestrator',
          'content-type': 'application/json',
          'x-version': '7',
          'x-note': 'hi',
          authorization: 'Bearer sk_test_0123456789',
          'idempotency-key': 'key-1',
          'x-orchestrator-attempt': 'attempt-1',
          'x-orchestrator-deadline-ms': '10000',
        },
        body: '{"amount":5,"for":"customer cus/1"}',
        signal: expect.any(AbortSignal),
        connectTimeoutMs: 3_000,
        maxResponseBytes: 4_194_304,
      },
    ])
  })

  test('sends a header of its own, or no secret at all', async () => {
    const own = setUp({}, httpConfig({}, { auth: { type: 'header', header: 'X-Api-Key' } }))
    await own.call()
    expect(own.requests[0]?.headers).toMatchObject({ 'x-api-key': 'sk_test_0123456789' })
    expect(own.requests[0]?.headers).not.toHaveProperty('authorization')
    const { auth: _auth, ...withoutAuth } = httpConfig().settings
    const none = setUp(
      {},
      { ...httpConfig(), settings: withoutAuth as ReturnType<typeof httpConfig>['settings'] },
    )
    await none.call()
    expect(none.requests[0]?.headers).not.toHaveProperty('authorization')
  })

  test.each([
    ['JSON', 'application/json; charset=utf-8', '{"ok":true}', { ok: true }],
    ['a JSON dialect', 'application/problem+json', '{"ok":false}', { ok: false }],
  ])('reads %s', async (_name, type, body, output) => {
    const { call } = setUp({ headers: { 'content-type': type }, body })
    expect((await call()).output).toEqual(output)
  })

  test('reads text as text and nothing as null', async () => {
    const anything = httpConfig({ output: {} })
    expect(
      (await setUp({ headers: { 'content-type': 'text/csv' }, body: 'a,b' }, anything).call()).output,
    ).toBe('a,b')
    expect((await setUp({ status: 204, headers: {}, body: '' }, anything).call()).output).toBeNull()
  })

  test.each([
    ['is no JSON', '{"ok":'],
    ['is nested too deeply', '['.repeat(1_000) + ']'.repeat(1_000)],
    ['would poison a prototype', '{"__proto__":{"ok":true}}'],
    ['does not fit the output schema', '{"ok":"yes"}'],
  ])('a success whose body %s is final: it had its effect', async (_name, body) => {
    const { call } = setUp({ body }, httpConfig({ safe: true }))
    await expect(call()).rejects.toMatchObject({
      class: 'permanent',
      kind: 'output_invalid',
      httpStatus: 200,
    })
  })

  test('an unsafe operation without a key does not know the outcome of a 500; a keyed one may be repeated', async () => {
    await expect(setUp({ status: 500 }).call()).rejects.toMatchObject({
      class: 'outcome_unknown',
      kind: 'http_5xx',
    })
    const keyed = httpConfig({ idempotency_key_header: 'Idempotency-Key' })
    await expect(setUp({ status: 500 }, keyed).call()).rejects.toMatchObject({ class: 'safe_to_repeat' })
  })

  test('a failure of the connection becomes a CallFailure by the same rule', async () => {
    const reset = new DialFailure('reset', 'maybe', 'closed')
    await expect(setUp(reset).call()).rejects.toMatchObject({
      class: 'outcome_unknown',
      kind: 'reset',
      name: 'CallFailure',
    })
    const refused = new DialFailure('refused', 'never', 'refused')
    await expect(setUp(refused).call()).rejects.toMatchObject({ class: 'never_sent', kind: 'refused' })
  })

  test('a secret that cannot stand in a header is no failure of the upstream, and is not in the message', async () => {
    const { call, requests } = setUp({})
    const error = await call({ id: 'a' }, 'sk_test\ninjected: x').catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'secret_unresolved' })
    expect(String(error)).not.toContain('sk_test')
    expect(requests).toEqual([])
  })

  test('an input that slipped past the check is not sent', async () => {
    const { call, requests } = setUp({})
    await expect(call({ id: '..' })).rejects.toMatchObject({ code: 'input_invalid' })
    await expect(call({}, 'sk', 'refund')).rejects.toMatchObject({ code: 'operation_not_found' })
    expect(requests).toEqual([])
  })
})

test('a config with a kind that this hub does not have names the connector', () => {
  const problem = problemOf(() =>
    compileConnector({ name: 'old', lane: 1, config: { kind: 'gone', settings: {} } }),
  )
  expect([problem.code, problem.message]).toEqual(['config_invalid', expect.stringMatching(/old/)])
})
