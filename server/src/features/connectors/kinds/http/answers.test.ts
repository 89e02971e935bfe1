import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Answers, calledConnector, type FakeAnswer } from '../../../../../testing/http-connector.ts'
import { DialFailure } from '../../../../platform/dial/dial-failure.ts'
import { CallFailure } from '../../../../resilience/failure.ts'
import { checkConnector } from '../../connectors.ts'
import { compileResponse } from './response.ts'

const configOf = (operation: object) => ({
  kind: 'http',
  settings: {
    base_url: 'https://api.example/v1',
    operations: { op: { method: 'GET', path: '/', ...operation } },
  },
})
const faults = (operation: object) =>
  checkConnector('api', configOf(operation)).map(
    ({ path, message }) => `${path.replace('/settings/operations/op', '')}: ${message}`,
  )
function setUp(operation: object, answers: Answers) {
  expect(faults(operation)).toEqual([])
  return calledConnector(configOf(operation), answers)
}
const outcome = (operation: object, answer: FakeAnswer) =>
  setUp(operation, () => answer)
    .call('op')
    .then(
      ({ output }) => output,
      (error: { class: string; kind: string; message: string }) =>
        `${error.class} ${error.kind}: ${error.message}`,
    )

const CUSTOMER = {
  type: 'object',
  properties: {
    id: { type: 'string' },
    name: { type: 'string' },
    tags: { type: 'array', items: { type: 'string' } },
    meta: { type: 'object', properties: { status: { type: 'integer' } }, required: ['status'] },
  },
  required: ['id'],
  additionalProperties: false,
}

describe('a response mapping', () => {
  const response = {
    id: '{{response.body.data.0.id}}',
    name: '{{response.body.data.0.first}} {{response.body.data.0.last}}',
    tags: ['{{response.headers.x-tag}}', '{{response.body.none}}', 'fix'],
    meta: { status: '{{response.status}}' },
  }

  test('makes the output of body, headers and status; what is missing and not required leaves no trace', async () => {
    const body = { data: [{ id: 'c1', first: 'A', last: 1 }] }
    const answer = { status: 201, headers: { 'x-tag': 't' }, body }
    expect(await outcome({ response, output: CUSTOMER }, answer)).toEqual({
      id: 'c1',
      name: 'A 1',
      tags: ['t', 'fix'],
      meta: { status: 201 },
    })
    expect(await outcome({ response: '{{response.body}}' }, { body })).toEqual(body)
    expect(await outcome({ response: { a: '{{response.body.x}}', b: null } }, { body })).toEqual({ b: null })
  })

  test.each([
    ['a required value', { id: '{{response.body.id}}' }, /response\.body\.id is missing: \/id of the output/],
    ['a part of a text', { id: 'c-{{response.body.id}}' }, /response\.body\.id is missing.* as text/],
    [
      'a required value deeper',
      { id: 'x', meta: { status: '{{response.body.s}}' } },
      /\/meta status|meta\/status/,
    ],
    ['a value inside a text body', { id: '{{response.body.0}}' }, /response\.body\.0 is missing/],
  ])('that finds %s missing is output_invalid, by its name', async (_what, mapping, message) => {
    for (const body of [{}, 'text'])
      expect(await outcome({ response: mapping, output: CUSTOMER }, { body })).toMatch(message)
    expect(await outcome({ response: mapping, output: CUSTOMER }, { body: {} })).toMatch(
      /^permanent output_invalid/,
    )
  })

  test('cannot be led to what every object has', async () => {
    expect(
      await outcome(
        { response: { a: '{{response.body.constructor}}', b: '{{response.headers.__proto__}}' } },
        { body: {} },
      ),
    ).toEqual({})
  })

  test('that gives a value of another type than the schema is output_invalid, by its path', async () => {
    const output = await outcome(
      { response: { id: '{{response.body.id}}' }, output: CUSTOMER },
      { body: { id: 7 } },
    )
    expect(output).toMatch(
      /^permanent output_invalid.*\/id must be text|^permanent output_invalid.*\/id must be/,
    )
  })

  test.each([
    [
      { id: '{{response.cookies}}' },
      '/response/id: uses response.cookies, but an answer has status, headers, body only',
    ],
    [{ id: '{{response}}' }, '/response/id: uses response, but an answer has status, headers, body only'],
    [{ id: '{{input.id}}' }, '/response/id: has a field that cannot be read: input.id'],
    [{ id: '{{response.status.code}}' }, '/response/id: uses response.status.code, but a status is a number'],
    [{ id: '{{response.headers.X-Tag}}' }, /headers have lower-case names/],
    [{ id: '{{response.body.a}' }, '/response/id: has braces that do not belong together'],
    [{ id: '{{response.items}}' }, /uses response.items/],
    [{ name: 'x' }, '/response: does not set id, which the output schema requires'],
    [{ id: 'x', extra: 1 }, '/response/extra: is not in the output schema, which is closed'],
    [{ id: { a: 1 } }, '/response/id: makes an object, which the output schema does not allow here'],
    [
      { id: 'x', meta: 'a {{response.status}}' },
      '/response/meta: makes a text, which the output schema does not allow here',
    ],
    [{ id: 'x', meta: {} }, '/response/meta: does not set status, which the output schema requires'],
  ])('%j is refused when it is saved', (mapping, fault) => {
    expect(faults({ response: mapping, output: CUSTOMER })).toEqual([
      typeof fault === 'string' ? fault : expect.stringMatching(fault),
    ])
  })
})

test('no answer makes a mapping throw anything but a failure of the call', () => {
  const mapping = {
    id: '{{response.body.id}}',
    name: 'x {{response.body.a.0.b}}',
    tags: ['{{response.body}}', '{{response.headers.a}}'],
  }
  const map = compileResponse(mapping, CUSTOMER)
  const body = fc.oneof(
    fc.jsonValue(),
    fc.record({ id: fc.jsonValue(), a: fc.array(fc.record({ b: fc.jsonValue() })) }),
  )
  fc.assert(
    fc.property(body, fc.dictionary(fc.string(), fc.string()), (answer, headers) => {
      try {
        expect(map({ status: 200, headers, body: answer })).toHaveProperty('name')
      } catch (error) {
        expect(error).toBeInstanceOf(CallFailure)
      }
    }),
  )
})

describe('statuses of an operation', () => {
  const operation = {
    method: 'POST',
    success_statuses: [200, 404],
    not_done_statuses: [423],
    retryable_statuses: [409],
  }
  test.each([
    [404, operation, /^gone$/],
    [204, operation, /^permanent http_2xx/],
    [423, operation, /^safe_to_repeat/],
    [409, operation, /^outcome_unknown/],
    [409, { ...operation, idempotency_key_header: 'Idempotency-Key' }, /^safe_to_repeat/],
    [500, operation, /^outcome_unknown/],
    [500, { ...operation, idempotent: true }, /^safe_to_repeat/],
    [404, {}, /^permanent http_4xx/],
  ])('HTTP %i', async (status, own, expected) => {
    expect(await outcome(own, { status, body: 'gone' })).toMatch(expected)
  })

  test('cannot contradict each other', () => {
    expect(faults({ success_statuses: [200, 409], retryable_statuses: [409, 201] })).toEqual([
      '/retryable_statuses/0: 409 stands in success_statuses as well',
      '/retryable_statuses/1: is a 2xx: what was carried out is never repeated',
    ])
  })
})

const formOf = (body: unknown) => ({
  method: 'POST',
  body_type: 'form',
  body,
  ...(typeof body === 'object' && { input: { type: 'object', properties: { x: {} } } }),
})

describe('bodies of other types', () => {
  test('a form: encoded, lists repeated, missing values dropped; an own content type wins', async () => {
    const operation = {
      method: 'POST',
      body_type: 'form',
      body: { name: '{{input.name}}', tag: '{{input.tags}}', gone: '{{input.none}}', n: 5 },
      input: { type: 'object', properties: { name: {}, tags: {}, none: {} } },
    }
    const of = setUp(operation, () => ({}))
    await of.call('op', { name: 'a&b=ü +', tags: ['x', 'y'] })
    expect(of.requests[0]).toMatchObject({
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'name=a%26b%3D%C3%BC+%2B&tag=x&tag=y&n=5',
    })
    const all = setUp(
      { method: 'POST', body_type: 'form', body: '{{input}}', headers: { 'Content-Type': 'x/y' } },
      () => ({}),
    )
    await all.call('op', { a: 1 })
    expect(all.requests[0]).toMatchObject({ headers: { 'content-type': 'x/y' }, body: 'a=1' })
  })

  test('a text is sent as it is', async () => {
    const of = setUp(
      {
        method: 'POST',
        body_type: 'text',
        body: 'SELECT {{input.q}}',
        input: {
          type: 'object',
          properties: { q: { type: 'string' } },
          required: ['q'],
        },
      },
      () => ({}),
    )
    await of.call('op', { q: '"1"\n' })
    expect(of.requests[0]?.body).toBe('SELECT "1"\n')
    expect(await of.dryRun('op', { q: '2' })).toMatchObject({ body: 'SELECT 2' })
  })

  test('what makes no form is a fault of the input, by its path', async () => {
    const check = (body: unknown, input: unknown) => {
      const operation = setUp(formOf(body), () => ({})).connector.operations.get('op')
      try {
        operation?.validateInput(input)
      } catch (error) {
        return (error as { extra: { details: { path: string }[] } }).extra.details.map(({ path }) => path)
      }
      return []
    }
    expect(check({ a: '{{input.x}}' }, { x: { deep: 1 } })).toEqual(['/body/input/x'])
    expect(check({ a: '{{input.x}}' }, { x: [[1]] })).toEqual(['/body/input/x'])
    expect(check('{{input}}', { y: {} })).toEqual(['/body/input/y'])
    expect(check('{{input}}', [1])).toEqual(['/body/input'])
    expect(check({ a: '{{input.x}}' }, { x: 'fine' })).toEqual([])
  })

  test.each([
    [{ body_type: 'form' }, '/body_type: needs a body'],
    [{ method: 'POST', body_type: 'form', body: [1] }, /must be an object/],
    [{ method: 'POST', body_type: 'text', body: {} }, /must be a text/],
  ])('%j is refused', (operation, fault) => {
    expect(faults(operation)).toEqual([typeof fault === 'string' ? fault : expect.stringMatching(fault)])
  })
})

describe('pages', () => {
  const cursor = { type: 'cursor', items: 'data', next: 'meta.next', parameter: 'after' }

  test('by cursor: other parameters stay, and items come in order', async () => {
    const pages: Record<string, FakeAnswer> = {
      'https://api.example/v1/?limit=2': { body: { data: [1, 2], meta: { next: 'a b' } } },
      'https://api.example/v1/?limit=2&after=a+b': { body: { data: [3], meta: { next: null } } },
    }
    const of = setUp(
      { pagination: cursor, query: { limit: '2' } },
      ({ url }) => pages[String(url)] ?? { status: 400 },
    )
    expect((await of.call('op')).output).toEqual([1, 2, 3])
  })

  test('by link: also one that is relative, quoted and not the first', async () => {
    const links = [
      '</v1/?p=0>; rel="prev first", </v1/?p=2;x,y>; title="a, b"; rel="last NEXT"',
      '<?p=3>; rel=prev',
    ]
    const of = setUp({ pagination: { type: 'link' } }, (_request, number) => ({
      headers: { link: links[number - 1] ?? '' },
      body: [number],
    }))
    expect((await of.call('op')).output).toEqual([1, 2])
    expect(of.requests.map(({ url }) => String(url))[1]).toBe('https://api.example/v1/?p=2;x,y')
  })

  test('by number: until a page that is not full, or an empty one', async () => {
    const full: Answers = (_request, number) => ({ body: number < 3 ? [number, number] : [] })
    const some: Answers = (_request, number) => ({ body: number < 2 ? [number, number] : [9] })
    const page = { type: 'page', parameter: 'page' }
    const all = setUp({ pagination: { ...page, first_page: 0 } }, full)
    expect((await all.call('op')).output).toEqual([1, 1, 2, 2])
    expect(all.requests.map(({ url }) => String(url).slice(-1))).toEqual(['0', '1', '2'])
    const sized = setUp({ pagination: { ...page, page_size: 2 } }, some)
    expect((await sized.call('op')).output).toEqual([1, 1, 9])
  })

  test('mapped: the items, and body, status and headers of the last page', async () => {
    const response = { list: '{{response.items}}', total: '{{response.body.total}}' }
    const of = setUp({ pagination: cursor, response }, (_request, number) => ({
      body: { data: [number], total: 2, ...(number === 1 && { meta: { next: 'x' } }) },
    }))
    expect((await of.call('op')).output).toEqual({ list: [1, 2], total: 2 })
  })

  test.each([
    [
      'more pages than allowed',
      { max_pages: 2 },
      (number: number) => ({ body: { data: [1], meta: { next: number } } }),
      'permanent too_many_pages',
    ],
    [
      'a cursor that comes twice',
      {},
      () => ({ body: { data: [1], meta: { next: 'x' } } }),
      'permanent pagination_invalid',
    ],
    [
      'a cursor that is none',
      {},
      () => ({ body: { data: [1], meta: { next: { a: 1 } } } }),
      'permanent pagination_invalid',
    ],
    ['no list', {}, () => ({ body: { data: {} } }), 'permanent output_invalid'],
    [
      'a failing page',
      {},
      (number: number) => (number === 1 ? { body: { data: [1], meta: { next: 'x' } } } : { status: 503 }),
      'safe_to_repeat http_5xx',
    ],
    [
      'a next page elsewhere',
      { type: 'link', items: undefined, next: undefined, parameter: undefined },
      () => ({ headers: { link: '<https://evil.example/>; rel=next' }, body: [1] }),
      'permanent pagination_invalid',
    ],
  ])('%s fails the call and gives nothing', async (_what, own, answer, expected) => {
    const pagination = JSON.parse(JSON.stringify({ ...cursor, ...own }))
    const of = setUp({ pagination }, (_request, number) => answer(number))
    const failure = await of.call('op').catch((error: unknown) => error)
    const { class: failureClass, kind } = failure as { class: string; kind: string }
    expect(`${failureClass} ${kind}`).toBe(expected)
    expect(new Set(of.requests.map(({ url }) => new URL(url).host))).toEqual(new Set(['api.example']))
  })

  test('a time limit meanwhile is a clear failure of the page that it met', async () => {
    const of = setUp({ pagination: cursor }, (_request, number) =>
      number < 3
        ? { body: { data: [1], meta: { next: number } } }
        : new DialFailure('timeout', 'maybe', 'Too late.'),
    )
    await expect(of.call('op')).rejects.toMatchObject({
      class: 'safe_to_repeat',
      kind: 'timeout',
      message: expect.stringMatching(/page 3 of a list/),
    })
  })

  test('together may not be larger than eight pages of the largest size', async () => {
    const big = 'x'.repeat(1024 * 1024 - 100)
    const of = setUp({ pagination: { ...cursor, max_pages: 100 } }, (_request, number) => ({
      body: { data: [big], meta: { next: number } },
    }))
    await expect(of.call('op')).rejects.toMatchObject({ kind: 'response_too_large' })
    expect(of.requests.length).toBeLessThan(12)
    expect(of.requests.at(-1)?.maxResponseBytes).toBeLessThan(1024 * 1024)
  })

  test.each([
    [{ method: 'POST', pagination: cursor }, '/pagination: is for safe operations only'],
    [{ pagination: { type: 'cursor' } }, '/pagination/parameter: is missing,/pagination/next: is missing'],
    [
      { pagination: { type: 'link', parameter: 'p' } },
      '/pagination/parameter: belongs to the type cursor or page only',
    ],
    [{ pagination: { ...cursor, page_size: 2 } }, '/pagination/page_size: belongs to the type page only'],
    [{ pagination: { ...cursor, max_pages: 101 } }, /max_pages/],
  ])('%j is refused', (operation, fault) => {
    expect(faults(operation).join(',')).toEqual(
      typeof fault === 'string' ? fault : expect.stringMatching(fault),
    )
  })
})

test('the deadline goes along, under a name of its own, and shrinks from page to page', async () => {
  const pagination = { type: 'page', parameter: 'page' }
  const config = configOf({ pagination })
  const of = calledConnector(
    { ...config, settings: { ...config.settings, deadline_header: 'X-Time-Left' } },
    async (_request, number) => {
      await of.clock.advance(400)
      return { body: number < 2 ? [1] : [] }
    },
  )
  await of.call('op')
  expect(of.requests.map(({ headers }) => headers['x-time-left'])).toEqual(['10000', '9600'])
  expect(of.requests[0]?.headers).not.toHaveProperty('x-orchestrator-deadline-ms')
})

test.each([
  [{ health: { path: '/health' } }, 204, true, 'GET https://api.example/v1/health'],
  [{ health: { path: '/health', method: 'HEAD' } }, 404, false, 'HEAD https://api.example/v1/health'],
  [{}, 404, true, 'HEAD https://api.example/v1'],
  [{}, 401, false, 'HEAD https://api.example/v1'],
  [{}, 503, false, 'HEAD https://api.example/v1'],
])('health with %j and HTTP %i: %s', async (settings, status, healthy, request) => {
  const config = configOf({})
  const of = calledConnector({ ...config, settings: { ...config.settings, ...settings } }, () => ({ status }))
  expect(await of.health()).toEqual({
    healthy,
    message: expect.stringMatching(String(status)),
    details: { http_status: status },
  })
  expect(of.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([request])
})
