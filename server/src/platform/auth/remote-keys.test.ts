import { generateKeyPairSync } from 'node:crypto'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type ManualClock, manualClock } from '../../../testing/manual-clock.ts'
import { json, startUpstream, type Upstream } from '../../../testing/upstream.ts'
import { createDial, type Dial } from '../dial/dial.ts'
import { createMetrics } from '../metrics.ts'
import { createRemoteKeys } from './remote-keys.ts'

const jwk = (kid: string, more: object = {}) => ({
  ...generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }),
  kid,
  alg: 'EdDSA',
  use: 'sig',
  ...more,
})
const A = jwk('a')
const B = jwk('b')
const P256 = {
  ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }),
  kid: 'p',
}

let issuer: Upstream
let dial: Dial
let clock: ManualClock
let log: ReturnType<typeof capturedLog>
const dials: Dial[] = []

const dialTo = (allowCidrs: string[]) => {
  const made = createDial({ allowCidrs, metrics: createMetrics('test', false), log: capturedLog().log })
  dials.push(made)
  return made
}
beforeEach(async () => {
  issuer = await startUpstream(json(200, { keys: [A] }))
  dial = dialTo(['127.0.0.0/8'])
  clock = manualClock()
  log = capturedLog()
})
afterEach(() => issuer.close())
afterAll(() => Promise.all(dials.map((each) => each.close())))

const open = (by = dial) => createRemoteKeys({ dial: by, clock, log: log.log })
const url = () => `${issuer.url}/jwks.json`

describe('keys of another issuer', () => {
  it('are read once, however many ask, and again before they are five minutes old', async () => {
    const keys = open()
    const [first] = await Promise.all(Array.from({ length: 20 }, () => keys.find(url(), 'a')))
    if (!first) throw new Error('the key was not found')
    expect(issuer.requests).toHaveLength(1)
    await clock.advance(239_999)
    expect(keys.accepts(url(), first)).toBe(true)
    expect(issuer.requests).toHaveLength(1)
    await clock.advance(60_001)
    expect(await keys.find(url(), 'a')).toBe(first)
    expect(issuer.requests).toHaveLength(2)
  })

  it('follow a rotation: a new key id leads to another look, and a key that is gone is not accepted', async () => {
    const keys = open()
    const old = await keys.find(url(), 'a')
    if (!old) throw new Error('the key was not found')
    issuer.reset(json(200, { keys: [B] }))
    await clock.advance(5_000)
    const found = await Promise.all(Array.from({ length: 50 }, () => keys.find(url(), 'b')))
    expect(found.every((key) => key?.kid === 'b')).toBe(true)
    expect(issuer.requests).toHaveLength(1)
    expect(keys.accepts(url(), old)).toBe(false)
    expect(await keys.find(url(), 'a')).toBeUndefined()
  })

  it('are another key when the id stays and the key changes', async () => {
    const keys = open()
    const old = await keys.find(url(), 'a')
    if (!old) throw new Error('the key was not found')
    issuer.reset(json(200, { keys: [jwk('a')] }))
    await clock.advance(300_000)
    expect(await keys.find(url(), 'a')).not.toBe(old)
    expect(keys.accepts(url(), old)).toBe(false)
  })

  it('do not let made-up key ids turn into requests', async () => {
    const keys = open()
    for (let n = 0; n < 100; n += 1) expect(await keys.find(url(), `made-up-${n}`)).toBeUndefined()
    expect(issuer.requests).toHaveLength(1)
    await clock.advance(5_000)
    for (let n = 0; n < 100; n += 1) await keys.find(url(), `made-up-${n}`)
    expect(issuer.requests).toHaveLength(2)
  })

  it('are used for an hour while the issuer is away, and then not any more', async () => {
    const keys = open()
    const before = await keys.find(url(), 'a')
    issuer.reset(json(503, {}))
    await clock.advance(3_599_999)
    expect(await keys.find(url(), 'a')).toBe(before)
    expect(issuer.requests).toHaveLength(1)
    // It is not asked for every token.
    await keys.find(url(), 'a')
    expect(issuer.requests).toHaveLength(1)
    await clock.advance(1)
    expect(await keys.find(url(), 'a')).toBeUndefined()
    issuer.reset(json(200, { keys: [A] }))
    await clock.advance(15_000)
    expect(await keys.find(url(), 'a')).toBe(before)
  })

  it('of one URL are not those of another', async () => {
    const keys = open()
    await keys.find(url(), 'a')
    issuer.reset(json(200, { keys: [B] }))
    expect(await keys.find(`${issuer.url}/other`, 'a')).toBeUndefined()
    expect(await keys.find(url(), 'a')).toBeDefined()
  })

  it.each<[string, unknown]>([
    ['with a private key', { keys: [A, { ...jwk('x'), d: A.x }] }],
    ['with a symmetric key', { keys: [A, { kty: 'oct', k: 'c2VjcmV0', kid: 'x' }] }],
    ['that is an array', [A]],
    ['without keys', { jwks: [A] }],
    ['with something that is no key', { keys: [A, 'a'] }],
    ['with 51 keys', { keys: Array.from({ length: 51 }, (_, n) => ({ ...A, kid: `k${n}` })).concat(A) }],
    ['larger than 64 KiB', { keys: [A], padding: 'x'.repeat(70_000) }],
  ])('are none of a set %s', async (_what, body) => {
    issuer.reset(json(200, body))
    expect(await open().find(url(), 'a')).toBeUndefined()
    expect(log.lines()).toMatchObject([{ level: 'warn', jwks_url: url() }])
    expect(log.text()).not.toContain('c2VjcmV0')
  })

  it.each<[string, object]>([
    ['of RSA', { kty: 'RSA', n: 'AQAB', e: 'AQAB', kid: 'x' }],
    ['of another curve', { ...P256, crv: 'P-384', kid: 'x' }],
    ['for encryption', jwk('x', { use: 'enc' })],
    ['that may only sign', jwk('x', { key_ops: ['sign'] })],
    ['for another algorithm', jwk('x', { alg: 'ES256' })],
    ['that is no point of its curve', { ...P256, y: P256.x, kid: 'x' }],
    ['whose id is there twice', jwk('twice')],
    ['without id', jwk('x', { kid: undefined })],
  ])('are those beside one %s, which is no key', async (_what, bad) => {
    issuer.reset(json(200, { keys: [A, bad, jwk('twice'), P256] }))
    const keys = open()
    expect(await keys.find(url(), 'x')).toBeUndefined()
    if ('kid' in bad && bad.kid === 'twice') expect(await keys.find(url(), 'twice')).toBeUndefined()
    expect(await keys.find(url(), 'a')).toMatchObject({ algorithm: 'EdDSA' })
    expect(await keys.find(url(), 'p')).toMatchObject({ algorithm: 'ES256' })
  })

  it('are not looked for where a redirect leads', async () => {
    const other = await startUpstream(json(200, { keys: [A] }))
    issuer.reset(json(302, {}, { location: `${other.url}/jwks.json` }))
    expect(await open().find(url(), 'a')).toBeUndefined()
    expect(other.requests).toHaveLength(0)
    await other.close()
  })

  it('are not looked for at a private address', async () => {
    expect(await open(dialTo([])).find(url(), 'a')).toBeUndefined()
    expect(issuer.requests).toHaveLength(0)
  })
})
