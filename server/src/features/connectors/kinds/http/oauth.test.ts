import { describe, expect, test, vi } from 'vitest'
import { type Answers, calledConnector, type FakeAnswer } from '../../../../../testing/http-connector.ts'
import { DialFailure } from '../../../../platform/dial/dial-failure.ts'
import { checkConnector } from '../../connectors.ts'

const SECRET = 's3cr3t:with/odd+chars%'
const TOKEN_URL = 'https://auth.example/token'

const configOf = (oauth2: object = {}) => ({
  kind: 'http',
  settings: {
    base_url: 'https://api.example',
    auth: { type: 'oauth2', oauth2: { token_url: TOKEN_URL, client_id: 'the hub', ...oauth2 } },
    operations: { read: { method: 'GET', path: '/' }, pay: { method: 'POST', path: '/pay' } },
  },
  secrets: { client_secret: 'ref' },
})
const grant = (token: string, more: object = {}): FakeAnswer => ({
  body: { access_token: token, token_type: 'Bearer', expires_in: 3600, ...more },
})

function setUp(token: Answers, api: Answers = () => ({ body: 'ok' }), oauth2: object = {}) {
  let tokens = 0
  let calls = 0
  const config = configOf(oauth2)
  expect(checkConnector('api', config)).toEqual([])
  const of = calledConnector(
    config,
    (request) => {
      if (request.url === TOKEN_URL) {
        tokens += 1
        return token(request, tokens)
      }
      calls += 1
      return api(request, calls)
    },
    { secrets: { ref: SECRET } },
  )
  const to = (url: string) => of.requests.filter((request) => String(request.url).startsWith(url))
  return { ...of, asked: () => to(TOKEN_URL), called: () => to('https://api.example') }
}
const failureOf = (answer: Promise<unknown>) =>
  answer.then(
    () => expect.unreachable('it succeeded'),
    (error: unknown) => error as Error,
  )

describe('the request for a token', () => {
  test('client_secret_basic: form-encoded before it is base64, as RFC 6749 §2.3.1 says', async () => {
    const { call, asked, called } = setUp(() => grant('tok-1'), undefined, {
      scope: 'a b',
      audience: 'https://api',
    })
    expect((await call('read')).output).toBe('ok')
    const [request] = asked()
    const [id, secret] = Buffer.from(String(request?.headers.authorization).slice(6), 'base64')
      .toString()
      .split(':')
    expect([id, secret]).toEqual(['the+hub', 's3cr3t%3Awith%2Fodd%2Bchars%25'])
    expect(Object.fromEntries(new URLSearchParams(String(request?.body)))).toEqual({
      grant_type: 'client_credentials',
      scope: 'a b',
      audience: 'https://api',
    })
    expect(called()[0]?.headers.authorization).toBe('Bearer tok-1')
  })

  test('client_secret_post: in the body and in no header', async () => {
    const { call, asked } = setUp(() => grant('tok-1'), undefined, { client_auth: 'post' })
    await call('read')
    expect(asked()[0]?.headers).not.toHaveProperty('authorization')
    expect(Object.fromEntries(new URLSearchParams(String(asked()[0]?.body)))).toMatchObject({
      client_id: 'the hub',
      client_secret: SECRET,
    })
  })
})

describe('a token in memory', () => {
  test('serves until a minute before its end, and not longer', async () => {
    const { call, asked, clock } = setUp((_request, number) => grant(`tok-${number}`))
    await call('read')
    await clock.advance(3_539_000)
    await call('read')
    expect(asked()).toHaveLength(1)
    await clock.advance(1_000)
    await call('read')
    expect(asked()).toHaveLength(2)
  })

  test('without a lifetime is kept for some minutes; a short one is used for its call only', async () => {
    const unknown = setUp(() => grant('tok', { expires_in: undefined }))
    await unknown.call('read')
    await unknown.clock.advance(239_000)
    await unknown.call('read')
    expect(unknown.asked()).toHaveLength(1)
    const short = setUp(() => grant('tok', { expires_in: 30 }))
    await short.call('read')
    await short.call('read')
    expect(short.asked()).toHaveLength(2)
  })

  test('of a secret that has been rotated is not used again', async () => {
    const { call, asked, secrets } = setUp(() => grant('tok'))
    await call('read')
    secrets.ref = 'another secret'
    await call('read')
    expect(asked()).toHaveLength(2)
  })

  test('is asked for once by all who need it at the same time; one who gives up does not stop the others', async () => {
    const { promise, resolve } = Promise.withResolvers<FakeAnswer>()
    const { call, asked } = setUp(() => promise)
    const controller = new AbortController()
    const quitter = failureOf(call('read', {}, { signal: controller.signal }))
    const others = Promise.all([call('read'), call('read')])
    await vi.waitFor(() => expect(asked()).toHaveLength(1))
    controller.abort(new Error('cancelled'))
    expect(await quitter).toMatchObject({ class: 'never_sent', kind: 'aborted' })
    expect(asked()[0]?.signal.aborted).toBe(false)
    resolve(grant('tok'))
    expect((await others).map(({ output }) => output)).toEqual(['ok', 'ok'])
    expect(asked()).toHaveLength(1)
  })

  test('for which nobody waits any more, and one that hangs for ten seconds, are given up', async () => {
    const hanging: Answers = ({ signal }) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new DialFailure('timeout', 'maybe', 'late'))),
      )
    const { call, asked, clock } = setUp(hanging)
    const controller = new AbortController()
    const alone = failureOf(call('read', {}, { signal: controller.signal }))
    await vi.waitFor(() => expect(asked()).toHaveLength(1))
    controller.abort(new DOMException('late', 'TimeoutError'))
    expect(await alone).toMatchObject({ class: 'never_sent', kind: 'timeout' })
    expect(asked()[0]?.signal.aborted).toBe(true)
    const patient = failureOf(call('read'))
    await vi.waitFor(() => expect(asked()).toHaveLength(2))
    await clock.advance(10_000)
    expect(await patient).toMatchObject({ class: 'never_sent', kind: 'timeout' })
  })
})

describe('a 401', () => {
  test('renews a token from memory once, and the call is sent again, even one that is not repeatable', async () => {
    let valid = 'tok-1'
    const { call, asked, called } = setUp(
      (_request, number) => grant(`tok-${number}`),
      ({ headers }) => ({ status: headers.authorization === `Bearer ${valid}` ? 200 : 401, body: 'ok' }),
    )
    await call('read')
    valid = 'tok-2'
    expect((await call('pay')).output).toBe('ok')
    expect(asked()).toHaveLength(2)
    expect(called().map(({ method }) => method)).toEqual(['GET', 'POST', 'POST'])
  })

  test('to a token that is new is the answer, and the next call asks for another', async () => {
    const { call, asked, called } = setUp(
      (_request, number) => grant(`tok-${number}`),
      () => ({ status: 401 }),
    )
    expect(await failureOf(call('read'))).toMatchObject({ class: 'permanent', httpStatus: 401 })
    expect([asked().length, called().length]).toEqual([1, 1])
    await failureOf(call('read'))
    expect(asked()).toHaveLength(2)
  })
})

describe('no token', () => {
  test.each([
    [
      'refused by name',
      { status: 401, body: { error: 'invalid_client' } },
      'permanent',
      'oauth_refused',
      /invalid_client/,
    ],
    [
      'refused in words of its own',
      { status: 400, body: { error: 'x'.repeat(99) } },
      'permanent',
      'oauth_refused',
      /HTTP 400\./,
    ],
    [
      'a redirect',
      { status: 302, headers: { location: 'http://127.0.0.1' } },
      'permanent',
      'oauth_refused',
      /302/,
    ],
    [
      'overloaded',
      { status: 503, headers: { 'retry-after': '7' } },
      'never_sent',
      'oauth_unavailable',
      /503/,
    ],
    ['limited', { status: 429 }, 'never_sent', 'oauth_unavailable', /429/],
    ['no JSON', { body: 'tok' }, 'permanent', 'oauth_invalid_answer', /JSON/],
    ['a list', { body: [] }, 'permanent', 'oauth_invalid_answer', /access_token/],
    ['no token', { body: { token_type: 'Bearer' } }, 'permanent', 'oauth_invalid_answer', /access_token/],
    ['a token that splits headers', grant('a\r\nb: c'), 'permanent', 'oauth_invalid_answer', /access_token/],
    [
      'a token of another type',
      grant('t', { token_type: 'mac' }),
      'permanent',
      'oauth_invalid_answer',
      /token_type/,
    ],
    [
      'a name that does not resolve',
      new DialFailure('dns', 'never', 'no'),
      'never_sent',
      'dns',
      /access token/,
    ],
    [
      'a connection that broke',
      new DialFailure('reset', 'maybe', 'no'),
      'never_sent',
      'reset',
      /access token/,
    ],
    [
      'a forbidden place',
      new DialFailure('address_forbidden', 'never', 'no'),
      'permanent',
      'address_forbidden',
      /access token/,
    ],
  ] as const)('%s: nothing of the call was sent', async (_what, answer, failureClass, kind, message) => {
    const { call, called, clock } = setUp(() => answer)
    const failure = await failureOf(call('pay'))
    expect(failure).toMatchObject({ name: 'CallFailure', class: failureClass, kind })
    expect(failure.message).toMatch(message)
    if (kind === 'oauth_unavailable' && 'headers' in answer)
      expect(failure).toMatchObject({ retryAfterMs: 7_000 })
    expect(called()).toEqual([])
    expect(clock.sleeping, 'no timer is left behind').toBe(0)
  })
})

test('neither the client secret, nor its Basic form, nor the token comes back in answers or previews', async () => {
  const token = 'access-token-0123456789'
  let fails = false
  const of = setUp(
    ({ headers, body }) => (fails ? { status: 400, body: { headers, body: String(body) } } : grant(token)),
    ({ headers }) => ({ body: { headers } }),
  )
  expect(JSON.stringify(await of.call('read'))).not.toContain(token)
  expect(await of.dryRun('pay')).toMatchObject({ headers: { authorization: 'Bearer [secret]' } })
  expect(of.asked(), 'a preview asks for no token').toHaveLength(1)
  fails = true
  await of.clock.advance(4_000_000)
  const told = JSON.stringify({ ...(await failureOf(of.call('read'))) })
  const encoded = String(of.asked().at(-1)?.headers.authorization).slice(6)
  for (const hidden of [SECRET, encodeURIComponent(SECRET), encoded]) expect(told).not.toContain(hidden)
  expect(told).toContain('[secret]')
})

test('the health check asks for a token and says by whose fault there is none', async () => {
  expect(
    await setUp(
      () => grant('tok'),
      () => ({ status: 404 }),
    ).health(),
  ).toMatchObject({ healthy: true })
  expect(
    await setUp(
      () => grant('tok'),
      () => ({ status: 403 }),
    ).health(),
  ).toMatchObject({ healthy: false })
  expect(await setUp(() => ({ status: 401, body: { error: 'invalid_client' } })).health()).toEqual({
    healthy: false,
    message: expect.stringMatching(/token endpoint.*invalid_client/),
    details: { cause: 'oauth_refused' },
  })
})
