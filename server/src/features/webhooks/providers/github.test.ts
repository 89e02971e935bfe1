import { describe, expect, it } from 'vitest'
import { Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import type { HeaderValues, SignedRequest } from '../provider.ts'
import { github } from './github.ts'

const NOW = Date.parse('2026-11-21T12:00:00Z')
const tools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }
const request = (raw: string | Buffer, headers: Record<string, string> = {}): SignedRequest => ({
  raw: Buffer.from(raw),
  headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]])),
  url: undefined,
  nowMs: NOW,
})
const verify = (raw: string, signature: string) =>
  github.verify(
    request(raw, { 'x-hub-signature-256': signature }),
    [new Secret("It's a Secret to Everybody")],
    {},
    tools,
  )

const HEADERS = { 'x-github-event': 'issues', 'x-github-delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958' }
const eventOf = (body: unknown, headers: Record<string, string> = HEADERS) =>
  github.events(body, request('', headers), {})[0]

describe('the signature', () => {
  const published = '757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17'

  it('fits the vector of the documentation', async () => {
    expect(await verify('Hello, World!', `sha256=${published}`)).toMatchObject({ verified: true })
  })

  it.each([
    ['without its prefix', published],
    ['of the old scheme', `sha1=${published.slice(0, 40)}`],
    ['in upper case', `sha256=${published.toUpperCase()}`],
    ['with a space', `sha256= ${published}`],
    ['twice in one header', `sha256=${published},sha256=${published}`],
  ])('is malformed %s', async (_what, signature) => {
    expect(await verify('Hello, World!', signature)).toEqual({
      verified: false,
      cause: 'signature_malformed',
    })
  })

  it('of the old scheme alone is none', async () => {
    const sha1 = request('Hello, World!', { 'x-hub-signature': `sha1=${published.slice(0, 40)}` })
    expect(await github.verify(sha1, [new Secret('x')], {}, tools)).toEqual({
      verified: false,
      cause: 'signature_missing',
    })
  })
})

describe('the event', () => {
  it('has the id of the delivery, which is the same when it is sent again', () => {
    expect(eventOf({ action: 'opened' })).toEqual({
      eventId: '72d3162e-cc78-11e3-81ab-4c9367dc0958',
      type: 'issues.opened',
      accounts: [],
      livemode: null,
      occurredAt: new Date(NOW),
    })
  })

  it.each([
    ['push', {}, 'push'],
    ['ping', { zen: 'Keep it logically awesome.', hook_id: 7 }, 'ping'],
    ['issues', { action: 'closed' }, 'issues.closed'],
    ['issues', { action: 7 }, 'issues'],
    ['issues', { action: null }, 'issues'],
  ])('%s with %j is of the type %s', (name, body, type) => {
    expect(eventOf(body, { ...HEADERS, 'x-github-event': name })?.type).toBe(type)
  })

  it.each([
    [{ installation: { id: 42 } }, ['42']],
    [
      {
        organization: { login: 'octo-org' },
        repository: { full_name: 'octo-org/shop', owner: { login: 'octo-org' } },
        installation: { id: 42 },
      },
      ['42', 'octo-org/shop', 'octo-org'],
    ],
    [{ repository: { full_name: 'mona/shop', owner: { login: 'mona' } } }, ['mona/shop', 'mona']],
    [{ organization: { login: 'octo-org' } }, ['octo-org']],
    [{ installation: { id: '42' }, repository: 'shop', organization: [] }, []],
    [{ installation: { id: 1e300 } }, []],
  ])('with %j can be claimed by %j', (body, accounts) => {
    expect(eventOf(body)?.accounts).toEqual(accounts)
  })

  it.each<[string, unknown, HeaderValues]>([
    ['without its id', {}, { 'x-github-event': ['push'] }],
    ['without its name', {}, { 'x-github-delivery': ['1'] }],
    ['with two ids', {}, { 'x-github-event': ['push'], 'x-github-delivery': ['1', '2'] }],
    ['that is a list', [], { 'x-github-event': ['push'], 'x-github-delivery': ['1'] }],
  ])('is refused %s', (_what, body, headers) => {
    expect(() => github.events(body, { ...request(''), headers }, {})).toThrow(Problem)
  })
})

describe('a form', () => {
  const form = (raw: string | Buffer) => github.parse(Buffer.from(raw))

  it('is read as the JSON in it', () => {
    expect(form(`payload=${encodeURIComponent('{"action":"opened","title":"Käse & ☕ + 1%"}')}`)).toEqual({
      action: 'opened',
      title: 'Käse & ☕ + 1%',
    })
    expect(form('payload=%7B%22a%22%3A+1%7D')).toEqual({ a: 1 })
  })

  it.each([
    ['empty', ''],
    ['with two payloads', 'payload=%7B%7D&payload=%7B%7D'],
    ['with a payload that is no JSON', 'payload=a'],
    ['with a half percent sign', 'payload=%7'],
    ['with percent signs that are no UTF-8', 'payload=%22%FF%22'],
    ['with bytes that are no UTF-8', Buffer.from([...Buffer.from('payload="'), 0xff, 0x22])],
    ['with a poisoned prototype', 'payload=%7B%22__proto__%22%3A%7B%7D%7D'],
    ['with a poisoned field', '__proto__=1'],
    ['with a thousand fields', Array.from({ length: 1_001 }, (_none, at) => `a${at}=1`).join('&')],
  ])('%s is malformed', (_what, raw) => {
    expect(() => form(raw)).toThrow(expect.objectContaining({ code: 'malformed_body' }))
  })
})
