import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { headerFault } from '../../../../platform/dial/request-headers.ts'
import { compileRequest } from './request.ts'
import type { HttpOperation } from './settings.ts'

const render = (operation: Partial<HttpOperation>, input: unknown, base = 'https://api.example/base/') => {
  const rendered = compileRequest(base, { method: 'POST', path: '/', ...operation })(input)
  return 'request' in rendered ? rendered.request : rendered.faults
}

describe('paths', () => {
  test.each([
    ['/v1/customers/{id}', { id: 'cus_1' }, 'https://api.example/base/v1/customers/cus_1'],
    ['/v1/customers/{customer.id}/x', { customer: { id: 7 } }, 'https://api.example/base/v1/customers/7/x'],
    ['/{a}-{b}.json', { a: true, b: 1.5 }, 'https://api.example/base/true-1.5.json'],
    ['/{id}', { id: 'a/b?c#d%2e\\e' }, 'https://api.example/base/a%2Fb%3Fc%23d%252e%5Ce'],
    ['/{id}', { id: 'a\r\nhost: x' }, 'https://api.example/base/a%0D%0Ahost%3A%20x'],
    ['/{id}', { id: '..x' }, 'https://api.example/base/..x'],
    ['/', {}, 'https://api.example/base/'],
  ])('%s', (path, input, url) => {
    expect(render({ path }, input)).toMatchObject({ url })
  })

  test.each([
    ['/{id}', {}, '/id', /missing/],
    ['/{id}', { id: null }, '/id', /missing/],
    ['/{id}', { id: '' }, '/id', /part of the path/],
    ['/{id}', { id: '.' }, '/id', /part of the path/],
    ['/{id}/charges', { id: '..' }, '/id', /part of the path/],
    ['/{a}{b}', { a: '.', b: '.' }, '/a', /part of the path/],
    ['/{a.b}', { a: { b: ['x'] } }, '/a/b', /text, a number or a boolean/],
    ['/{a.b}', { a: 'x' }, '/a/b', /missing/],
    ['/{id}', { id: '\ud800' }, '/id', /Unicode/],
    ['/{id}', { id: 'x'.repeat(9_000) }, '', /8192/],
    ['/{constructor}', {}, '/constructor', /missing/],
  ])('%s does not take %o', (path, input, at, message) => {
    expect(render({ path }, input)).toEqual([{ path: at, message: expect.stringMatching(message) }])
  })
})

test('query: encoded, dropped when missing, repeated for a list', () => {
  const query = {
    limit: '{{input.limit}}',
    'tag[]': '{{ input.tags }}',
    q: 'name:{{input.name}}',
    none: '{{input.none}}',
    fix: 'a b',
  }
  const input = { limit: 5, tags: ['a&b', 'c'], name: 'Ünal & co' }
  expect(render({ query }, input)).toMatchObject({
    url: 'https://api.example/base/?limit=5&tag%5B%5D=a%26b&tag%5B%5D=c&q=name%3A%C3%9Cnal%20%26%20co&fix=a%20b',
  })
  expect(render({ query }, { ...input, tags: [{}] })).toEqual([
    { path: '/tags', message: expect.any(String) },
  ])
})

test('headers: lower case, dropped when missing, refused when they could break out', () => {
  const headers = { 'X-Account': '{{input.account}}', 'x-mixed': 'v={{input.v}}', 'x-none': '{{input.none}}' }
  expect(render({ headers }, { account: 'acct_1', v: 2 })).toMatchObject({
    headers: { 'x-account': 'acct_1', 'x-mixed': 'v=2' },
  })
  for (const account of ['a\r\nb: c', 'a\nb', 'a\0', 'a\u010a', '✓'])
    expect(render({ headers }, { account, v: 1 }), account).toEqual([
      { path: '/account', message: expect.stringMatching(/cannot stand in a header/) },
    ])
  expect(render({ headers }, { account: 'x'.repeat(9_000), v: 1 })).toEqual([
    { path: '/account', message: expect.stringMatching(/too long/) },
  ])
})

describe('bodies', () => {
  const input = { name: 'a"b', amount: 5, tags: ['x'], nested: { deep: null } }

  test('the whole input, a value, a text, and what is missing', () => {
    const body = (template: unknown) => {
      const request = render({ body: template }, input)
      return 'body' in request ? JSON.parse(request.body ?? '') : request
    }
    expect(body('{{input}}')).toEqual(input)
    expect(
      body({
        a: '{{input.amount}}',
        t: '{{input.tags}}',
        n: '{{input.nested.deep}}',
        s: 'is {{input.name}}',
      }),
    ).toEqual({
      a: 5,
      t: ['x'],
      n: null,
      s: 'is a"b',
    })
    expect(body({ gone: '{{input.none}}', list: ['{{input.none}}', 1, true, null] })).toEqual({
      list: [1, true, null],
    })
    expect(body([{ '{{input.name}}': 1 }])).toEqual([{ '{{input.name}}': 1 }])
    expect(body({ '': { a: { b: '{{input.nested}}' } } })).toEqual({ '': { a: { b: { deep: null } } } })
  })

  test('no body without a template', () => {
    expect(render({}, input)).not.toHaveProperty('body')
  })

  test('a value cannot become structure: it stays one JSON value', () => {
    const body = { a: 'x{{input.v}}', b: '{{input.v}}' }
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (v) => {
        const request = render({ body }, { v })
        return (
          'body' in request &&
          JSON.stringify(JSON.parse(request.body ?? '')) === JSON.stringify({ a: `x${v}`, b: v })
        )
      }),
    )
  })
})

test('no input changes the host, adds a path segment, a parameter or a header, or makes it throw', () => {
  const operation = {
    path: '/v1/{a}/end/x{b}',
    query: { q: '{{input.a}}', r: 'r{{input.b}}' },
    headers: { 'x-a': '{{input.a}}', 'x-b': 'b {{input.b}}' },
    body: '{{input}}',
  }
  const hostile = fc.constantFrom(
    '..',
    '.',
    '',
    '/',
    '\\',
    '%2e%2e',
    '?',
    '#',
    '@evil.example',
    '\r\n',
    '//evil.example',
    '\u0000',
    '..;',
  )
  const value = fc.oneof(
    fc.string({ unit: 'binary' }),
    hostile,
    fc.tuple(hostile, hostile).map((both) => both.join('')),
    fc.jsonValue(),
  )
  fc.assert(
    fc.property(value, value, (a, b) => {
      const rendered = render(operation, { a, b })
      if (!('url' in rendered)) return rendered.length === 1
      const url = new URL(rendered.url)
      return (
        url.origin === 'https://api.example' &&
        url.pathname.startsWith('/base/v1/') &&
        url.pathname.split('/').length === 6 &&
        url.pathname.split('/')[4] === 'end' &&
        [...url.searchParams.keys()].every((name) => name === 'q' || name === 'r') &&
        url.hash === '' &&
        headerFault(rendered.headers) === undefined
      )
    }),
    { numRuns: 1_000 },
  )
})
