import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { calledConnector } from '../../../../../testing/http-connector.ts'
import { manualClock } from '../../../../../testing/manual-clock.ts'
import { checkConnector } from '../../connectors.ts'

const NOW = Date.UTC(2026, 0, 31, 12)
const SECRET = 'p4ss:wörd with spaces & more'

const config = (auth: object, secrets: Record<string, string>) => ({
  kind: 'http',
  settings: {
    base_url: 'https://api.example/v1',
    auth,
    operations: { send: { method: 'POST', path: '/things', query: { a: '1' }, body: { b: 2 } } },
  },
  secrets,
})
const faults = (auth: object, secrets: Record<string, string> = {}) =>
  checkConnector('api', config(auth, secrets)).map(({ path }) => path)

const sent = async (auth: object, secretName: string, value: string) => {
  const connector = config(auth, { [secretName]: 'ref' })
  expect(checkConnector('api', connector)).toEqual([])
  const of = calledConnector(connector, () => ({ body: {} }), {
    secrets: { ref: value },
    clock: manualClock(NOW),
  })
  await of.call('send')
  const [request] = of.requests
  return { request, preview: JSON.stringify(await of.dryRun('send')) }
}

test('basic: user name and password in UTF-8, and neither in a preview', async () => {
  const { request, preview } = await sent({ type: 'basic', username: 'ünal' }, 'password', 'pässwort')
  const encoded = Buffer.from('ünal:pässwort').toString('base64')
  expect(request?.headers.authorization).toBe(`Basic ${encoded}`)
  expect(preview).toContain('Basic [secret]')
  expect(preview).not.toContain(encoded)
})

test('query: the key is encoded, stands behind other parameters, and is masked in a preview', async () => {
  const { request, preview } = await sent({ type: 'query', parameter: 'api key' }, 'token', 'k&y=1#2')
  expect(request?.url).toBe('https://api.example/v1/things?a=1&api%20key=k%26y%3D1%232')
  expect(preview).toContain('api%20key=[secret]')
  expect(preview).not.toContain('k%26y')
})

describe('hmac', () => {
  const expected = (algorithm: string, text: string, encoding: 'hex' | 'base64') =>
    createHmac(algorithm, SECRET).update(text).digest(encoding)

  test('signs time, method, path with query, and body; a receiver can check it by what it got', async () => {
    const hmac = { signature_header: 'X-Signature', timestamp_header: 'X-Timestamp' }
    const { request, preview } = await sent({ type: 'hmac', hmac }, 'signing_key', SECRET)
    const { pathname, search } = new URL(String(request?.url))
    const time = request?.headers['x-timestamp']
    expect(time).toBe(String(NOW / 1_000))
    const text = `${time}.${request?.method}.${pathname}${search}.${request?.body}`
    expect(text).toBe(`${NOW / 1_000}.POST./v1/things?a=1.{"b":2}`)
    expect(request?.headers['x-signature']).toBe(expected('sha256', text, 'hex'))
    expect(preview).toContain('"x-signature":"[secret]"')
  })

  test('in another form: prefix, hash, encoding, time and text of its own', async () => {
    const hmac = {
      algorithm: 'sha512',
      encoding: 'base64',
      prefix: 'v1=',
      signature_header: 'x-sig',
      timestamp_header: 'x-time',
      timestamp_format: 'iso8601',
      signed: '{{host}}\n{{ timestamp }}\n{{body}}',
    }
    const { request, preview } = await sent({ type: 'hmac', hmac }, 'signing_key', SECRET)
    const signature = expected('sha512', 'api.example\n2026-01-31T12:00:00.000Z\n{"b":2}', 'base64')
    expect(request?.headers['x-sig']).toBe(`v1=${signature}`)
    expect(request?.headers['x-time']).toBe('2026-01-31T12:00:00.000Z')
    expect(preview).toContain('v1=[secret]')
    expect(preview).not.toContain(signature)
  })

  test('a body that looks like a template is signed as it is', async () => {
    const hmac = { signature_header: 'x-sig', signed: '{{body}}' }
    const connector = config({ type: 'hmac', hmac }, { signing_key: 'ref' })
    connector.settings.operations.send.body = { b: '{{input.b}}' } as never
    const of = calledConnector(connector, () => ({}), { secrets: { ref: SECRET } })
    await of.call('send', { b: '{{method}} $& $1' })
    const body = '{"b":"{{method}} $& $1"}'
    expect(of.requests[0]).toMatchObject({ body, headers: { 'x-sig': expected('sha256', body, 'hex') } })
  })
})

describe('what an answer echoes of credentials is taken out', () => {
  test.each([
    ['basic', { type: 'basic', username: 'me' }, 'password'],
    ['hmac', { type: 'hmac', hmac: { signature_header: 'x-sig', signed: '{{body}}' } }, 'signing_key'],
    ['query', { type: 'query', parameter: 'key' }, 'token'],
    ['header', { type: 'header', header: 'x-key' }, 'token'],
  ])('%s', async (_type, auth, name) => {
    const of = calledConnector(
      config(auth, { [name]: 'ref' }),
      ({ url, headers }) => ({ status: 500, body: { url: String(url), headers } }),
      { secrets: { ref: 'canary-0123456789' } },
    )
    const failure = await of.call('send').catch((error: unknown) => error)
    const told = JSON.stringify({ ...(failure as object) })
    expect(told).toContain('[secret]')
    expect(told).not.toContain('canary-0123456789')
    const credential = of.requests[0]?.headers.authorization ?? of.requests[0]?.headers['x-sig'] ?? '\0'
    expect(told).not.toContain(credential.replace('Basic ', ''))
  })
})

test.each([
  ['a secret of another type', { type: 'bearer' }, { token: 'a', password: 'b' }, ['/secrets/password']],
  ['basic without anything', { type: 'basic' }, {}, ['/secrets/password', '/settings/auth/username']],
  [
    'a user name with a colon',
    { type: 'basic', username: 'a:b' },
    { password: 'a' },
    ['/settings/auth/username'],
  ],
  ['query without a parameter', { type: 'query' }, { token: 'a' }, ['/settings/auth/parameter']],
  [
    'a setting of another type',
    { type: 'bearer', parameter: 'x' },
    { token: 'a' },
    ['/settings/auth/parameter'],
  ],
  ['hmac without its settings', { type: 'hmac' }, { signing_key: 'a' }, ['/settings/auth/hmac']],
  [
    'a signed time that is not sent',
    { type: 'hmac', hmac: { signature_header: 'x-sig' } },
    { signing_key: 'a' },
    ['/settings/auth/hmac/timestamp_header'],
  ],
  [
    'one header for both',
    { type: 'hmac', hmac: { signature_header: 'x-sig', timestamp_header: 'X-Sig' } },
    { signing_key: 'a' },
    ['/settings/auth/hmac/timestamp_header'],
  ],
  [
    'a field that nobody can sign, and loose braces',
    { type: 'hmac', hmac: { signature_header: 'x-sig', signed: '{{input.id}} }}' } },
    { signing_key: 'a' },
    ['/settings/auth/hmac/signed', '/settings/auth/hmac/signed'],
  ],
  [
    'a signature in a header that frames',
    { type: 'hmac', hmac: { signature_header: 'Content-Length', signed: '{{body}}' } },
    { signing_key: 'a' },
    ['/settings/auth/hmac/signature_header'],
  ],
  [
    'a token URL with credentials',
    { type: 'oauth2', oauth2: { token_url: 'https://a:b@auth.example/t', client_id: 'x' } },
    { client_secret: 'a' },
    ['/settings/auth/oauth2/token_url'],
  ],
])('%s is refused, every fault with its path', (_what, auth, secrets, paths) => {
  expect(faults(auth, secrets)).toEqual(paths)
})
