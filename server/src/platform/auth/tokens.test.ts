import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type ManualClock, manualClock } from '../../../testing/manual-clock.ts'
import { Problem } from '../../problems.ts'
import { firstIdAt } from '../ids.ts'
import { type Keys, openKeys } from './keys.ts'
import { bearerToken, createVerifier, issueToken, type TokenRules } from './tokens.ts'

const EXEC: TokenRules = { issuer: 'https://hub.test', audience: 'orchestrator-exec', maxAgeSeconds: 600 }
const CONTROL: TokenRules = { ...EXEC, audience: 'orchestrator-control' }
const TENANT = '01936f2e-0000-7000-8000-000000000001'
const NEW_TOKEN = {
  subject: 'svc:buildos-backend',
  tenantId: TENANT,
  scopes: ['orchestrator.execute'],
  lifetimeSeconds: 600,
}

let folder: string
let clock: ManualClock
let execKeys: Keys
let controlKeys: Keys
let execPrivate: KeyObject
let captured: ReturnType<typeof capturedLog>

const open = (name: string) =>
  openKeys({
    folder,
    name,
    maxTokenAgeSeconds: 600,
    clock,
    log: capturedLog().log,
    pollMs: 2_000_000_000,
  })

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'orch-tokens-'))
  clock = manualClock()
  execKeys = await open('exec')
  controlKeys = await open('control')
  const file = JSON.parse(await readFile(join(folder, 'exec.json'), 'utf8')) as { keys: [object] }
  execPrivate = createPrivateKey({ key: file.keys[0] as never, format: 'jwk' })
})
afterAll(async () => {
  execKeys.close()
  controlKeys.close()
  await rm(folder, { recursive: true, force: true })
})
beforeEach(() => {
  captured = capturedLog()
})

const verifier = (keys = execKeys, rules = EXEC) => createVerifier({ keys, rules, clock, log: captured.log })
const nowSeconds = () => Math.floor(clock.now() / 1_000)
const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

const goodHeader = () => ({ alg: 'EdDSA', typ: 'at+jwt', kid: execKeys.signer().kid })
const goodClaims = () => ({
  iss: EXEC.issuer,
  sub: 'svc:buildos-backend',
  aud: EXEC.audience,
  tid: TENANT,
  scopes: ['orchestrator.execute'],
  jti: '01936f2e-0000-7000-8000-00000000000a',
  iat: nowSeconds(),
  exp: nowSeconds() + 300,
})

/** Signs whatever it is given: what an attacker, or a careless issuer with the right key, could make. */
function forge(header: object, claims: unknown, key: KeyObject = execPrivate): string {
  const input = `${encode({ ...goodHeader(), ...header })}.${encode(claims)}`
  return `${input}.${sign(null, Buffer.from(input), key).toString('base64url')}`
}
const withClaims = (changes: object) => forge({}, { ...goodClaims(), ...changes })
const without = (claim: string) =>
  forge({}, Object.fromEntries(Object.entries(goodClaims()).filter(([name]) => name !== claim)))

const stranger = generateKeyPairSync('ed25519')
const strangerJwk = stranger.publicKey.export({ format: 'jwk' })
const publicKey = () => createPublicKey(execPrivate)

function hs256(secret: string | Buffer): string {
  const input = `${encode({ ...goodHeader(), alg: 'HS256' })}.${encode(goodClaims())}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

const withKid = (kid: unknown) => forge({ kid }, goodClaims(), stranger.privateKey)
const unsigned = (alg: string) => `${encode({ ...goodHeader(), alg })}.${encode(goodClaims())}.`

/** Of some certificate. */
const THUMBPRINT = 'bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2'

const FORGED: Record<string, () => string | Promise<string>> = {
  empty: () => '',
  'not a token': () => 'not.a.token',
  'alg none': () => unsigned('none'),
  'alg None': () => unsigned('None'),
  'alg none with the signature of a good token': () =>
    unsigned('none') + forge({}, goodClaims()).split('.')[2],
  'HS256 with the public key as secret': () => hs256(String(publicKey().export({ format: 'jwk' }).x)),
  'HS256 with the public PEM as secret': () => hs256(publicKey().export({ format: 'pem', type: 'spki' })),
  'signed by a stranger with our kid': () => forge({}, goodClaims(), stranger.privateKey),
  'its key in jwk': () => forge({ jwk: strangerJwk }, goodClaims(), stranger.privateKey),
  'its key in jwk, without kid': () =>
    forge({ jwk: strangerJwk, kid: undefined }, goodClaims(), stranger.privateKey),
  'its key at jku': () => forge({ jku: 'http://127.0.0.1:9/jwks.json' }, goodClaims(), stranger.privateKey),
  'its key at x5u': () => forge({ x5u: 'http://127.0.0.1:9/cert.pem' }, goodClaims(), stranger.privateKey),
  'jku on an otherwise good token': () => forge({ jku: 'http://127.0.0.1:9/jwks.json' }, goodClaims()),
  'kid missing': () => forge({ kid: undefined }, goodClaims()),
  'kid a number': () => withKid(7),
  'kid a path': () => withKid('../../../../dev/null'),
  'kid SQL': () => withKid("' union select 'x' --"),
  'kid a URL': () => withKid('http://127.0.0.1:9/key'),
  'kid unknown': () => withKid('nobody'),
  'kid __proto__': () => withKid('__proto__'),
  'kid of 10 kB': () => withKid('k'.repeat(10_000)),
  'crit unknown': () => forge({ crit: ['exp-strict'], 'exp-strict': true }, goodClaims()),
  'b64 false': () => forge({ crit: ['b64'], b64: false }, goodClaims()),
  'typ missing': () => forge({ typ: undefined }, goodClaims()),
  'typ JWT': () => forge({ typ: 'JWT' }, goodClaims()),
  'typ of an ID token': () => forge({ typ: 'id+jwt' }, goodClaims()),
  'alg Ed25519, which is not on the list': () => forge({ alg: 'Ed25519' }, goodClaims()),
  'aud of the other plane': () => withClaims({ aud: CONTROL.audience }),
  'aud an array with ours': () => withClaims({ aud: [EXEC.audience] }),
  'aud both planes': () => withClaims({ aud: [EXEC.audience, CONTROL.audience] }),
  'aud a prefix': () => withClaims({ aud: 'orchestrator-exe' }),
  'aud longer': () => withClaims({ aud: 'orchestrator-exec2' }),
  'aud in capitals': () => withClaims({ aud: 'ORCHESTRATOR-EXEC' }),
  'aud null': () => withClaims({ aud: null }),
  'iss of someone else': () => withClaims({ iss: 'https://evil.test' }),
  'iss an array': () => withClaims({ iss: [EXEC.issuer] }),
  'expired six seconds ago': () => withClaims({ iat: nowSeconds() - 300, exp: nowSeconds() - 6 }),
  'exp a string': () => withClaims({ exp: String(nowSeconds() + 300) }),
  'exp in ten years': () => withClaims({ exp: nowSeconds() + 315_360_000 }),
  'exp not a whole number': () => withClaims({ exp: nowSeconds() + 0.5 }),
  'older than the maximum age': () => withClaims({ iat: nowSeconds() - 606 }),
  'issued in the future': () => withClaims({ iat: nowSeconds() + 6, exp: nowSeconds() + 200 }),
  'nbf in the future': () => withClaims({ nbf: nowSeconds() + 6 }),
  'tid not a UUID': () => withClaims({ tid: 'buildos-dev' }),
  'tid a UUID in capitals': () => withClaims({ tid: TENANT.toUpperCase() }),
  'tid with a newline': () => withClaims({ tid: `${TENANT}\n` }),
  'tid an array': () => withClaims({ tid: [TENANT] }),
  'sub empty': () => withClaims({ sub: '' }),
  'sub with a newline': () => withClaims({ sub: 'svc:a\nroot' }),
  'jti a number': () => withClaims({ jti: 1 }),
  'scopes a string': () => withClaims({ scopes: 'orchestrator.execute' }),
  'scopes with an object': () => withClaims({ scopes: [{}] }),
  'roles a string': () => withClaims({ roles: 'platform_admin' }),
  'act nested: an impersonation begun during another': () =>
    withClaims({ act: { sub: 'operator:a', act: { sub: 'operator:b' } } }),
  'act without sub': () => withClaims({ act: {} }),
  'act with a sub that is no name': () => withClaims({ act: { sub: 'two words' } }),
  'act with more than a sub': () => withClaims({ act: { sub: 'operator:a', roles: ['admin'] } }),
  'act a string': () => withClaims({ act: 'operator:a' }),
  'act an array': () => withClaims({ act: [{ sub: 'operator:a' }] }),
  'act null': () => withClaims({ act: null }),
  'read_only without act': () => withClaims({ read_only: true }),
  'read_only a string': () => withClaims({ act: { sub: 'operator:a' }, read_only: 'false' }),
  'read_only null': () => withClaims({ act: { sub: 'operator:a' }, read_only: null }),
  'cnf of a DPoP key': () => withClaims({ cnf: { jkt: THUMBPRINT } }),
  'cnf of a key in it': () => withClaims({ cnf: { jwk: strangerJwk } }),
  'cnf of a certificate and a key': () => withClaims({ cnf: { 'x5t#S256': THUMBPRINT, jkt: THUMBPRINT } }),
  'cnf of SHA-1': () => withClaims({ cnf: { x5t: THUMBPRINT } }),
  'cnf too short': () => withClaims({ cnf: { 'x5t#S256': THUMBPRINT.slice(1) } }),
  'cnf in hex': () => withClaims({ cnf: { 'x5t#S256': 'ab'.repeat(32) } }),
  'cnf empty': () => withClaims({ cnf: {} }),
  'cnf a string': () => withClaims({ cnf: THUMBPRINT }),
  'cnf null': () => withClaims({ cnf: null }),
  'sid a number': () => withClaims({ sid: 7 }),
  'sid with a newline': () => withClaims({ sid: 'a\nb' }),
  'sid null': () => withClaims({ sid: null }),
  'claims an array': () => forge({}, [goodClaims()]),
  'claims not JSON': () => forge({}, 'claims'),
  'claims null': () => forge({}, null),
  'a newline at the end': () => `${forge({}, goodClaims())}\n`,
  'a newline inside': () => forge({}, goodClaims()).replace('.', '.\n'),
  'a space inside': () => forge({}, goodClaims()).replace('.', '. '),
  'a fourth part': () => `${forge({}, goodClaims())}.x`,
  'padded base64': () => `${forge({}, goodClaims())}==`,
  'another payload under a good signature': () => {
    const [header, , signature] = forge({}, goodClaims()).split('.')
    return [header, encode({ ...goodClaims(), sub: 'svc:root' }), signature].join('.')
  },
  'a token of the other plane': async () =>
    (await issueToken({ keys: controlKeys, rules: CONTROL, clock }, NEW_TOKEN)).token,
  'our audience signed by the key of the other plane': async () =>
    (await issueToken({ keys: controlKeys, rules: EXEC, clock }, NEW_TOKEN)).token,
  ...Object.fromEntries(
    ['iss', 'sub', 'aud', 'tid', 'scopes', 'iat', 'exp', 'jti'].map((claim) => [
      `${claim} missing`,
      () => without(claim),
    ]),
  ),
}

const refusalOf = async (token: string) => {
  const error: unknown = await verifier()(token).catch((caught: unknown) => caught)
  if (!(error instanceof Problem)) throw new Error(`accepted, or another failure: ${String(error)}`)
  return { code: error.code, detail: error.message, extra: error.extra }
}
const REFUSAL = { code: 'auth_required', detail: 'The bearer token is missing or not valid.', extra: {} }

describe('a verifier', () => {
  it('accepts what the forger of these tests makes when nothing is wrong with it', async () => {
    expect(await verifier()(forge({}, goodClaims()))).toMatchObject({ tenantId: TENANT })
  })

  it.each(Object.entries(FORGED))('refuses with the same words: %s', async (_name, make) => {
    const token = await make()
    expect(await refusalOf(token)).toEqual(REFUSAL)
    if (token.length > 3) expect(captured.text()).not.toContain(token.trim())
  })

  it('refuses every token with one character changed', async () => {
    const token = forge({}, goodClaims())
    // The last character of the signature carries bits that base64url decoding drops.
    const at = fc.integer({ min: 0, max: token.length - 2 })
    await fc.assert(
      fc.asyncProperty(at, fc.constantFrom(...'AZaz09-_.=+/ \n'), async (index, character) => {
        fc.pre(token[index] !== character)
        const changed = token.slice(0, index) + character + token.slice(index + 1)
        expect(await refusalOf(changed)).toEqual(REFUSAL)
      }),
      { numRuns: 300 },
    )
  })

  it('tells the true cause in the debug log', async () => {
    await refusalOf(withClaims({ aud: CONTROL.audience }))
    expect(captured.lines()).toMatchObject([{ level: 'debug', why: 'unexpected "aud" claim value' }])
  })

  it('allows clocks to differ by five seconds', async () => {
    const early = { iat: nowSeconds() + 5, nbf: nowSeconds() + 5, exp: nowSeconds() + 100 }
    await expect(verifier()(withClaims(early))).resolves.toBeDefined()
    await expect(verifier()(withClaims({ exp: nowSeconds() - 4 }))).resolves.toBeDefined()
  })

  it('reads what limits a token: the session, the certificate, who really acts, and whether only to look', async () => {
    const limits = { sessionId: 'session-1', certificateSha256: THUMBPRINT }
    const impersonator = { subject: 'operator:anna', readOnly: false }
    const { token } = await issueToken(
      { keys: execKeys, rules: EXEC, clock },
      { ...NEW_TOKEN, ...limits, impersonator },
    )
    expect(await verifier()(token)).toMatchObject({
      ...limits,
      impersonator: 'operator:anna',
      readOnly: false,
    })
    // Whoever does not say that writing was asked for, may not write.
    expect(await verifier()(withClaims({ act: { sub: 'operator:anna' } }))).toMatchObject({ readOnly: true })
  })

  it('says when it was issued to the millisecond, when its id does', async () => {
    const second = nowSeconds() * 1_000
    const idAt = (ms: number) => firstIdAt(ms).replace('-7000-', '-7abc-')
    expect(await verifier()(withClaims({ jti: idAt(second + 321) }))).toMatchObject({
      issuedAt: second + 321,
    })
    // An id of another second belongs to another clock, or was made up.
    expect(await verifier()(withClaims({ jti: idAt(second + 1_321) }))).toMatchObject({ issuedAt: second })
    expect(await verifier()(withClaims({ jti: 'any-name' }))).toMatchObject({ issuedAt: second })
  })

  it('forgets a remembered token when it expires', async () => {
    const verify = verifier()
    const token = withClaims({ exp: nowSeconds() + 10 })
    await verify(token)
    await clock.advance(14_999)
    await expect(verify(token)).resolves.toBeDefined()
    await clock.advance(1)
    await expect(verify(token)).rejects.toMatchObject({ code: 'auth_required' })
  })

  it('forgets a remembered token when its key has retired', async () => {
    const keys = await open('retiring')
    const verify = createVerifier({ keys, rules: EXEC, clock, log: captured.log })
    await keys.rotate()
    await clock.advance(60_000 + 605_000 - 1)
    // Not by expiry: the clock of the issuer ran ahead and the token would still be young enough.
    const file = JSON.parse(await readFile(join(folder, 'retiring.json'), 'utf8')) as {
      keys: [{ kid: string }]
    }
    const old = createPrivateKey({ key: file.keys[0] as never, format: 'jwk' })
    const token = forge({ kid: file.keys[0].kid }, goodClaims(), old)
    await expect(verify(token)).resolves.toBeDefined()
    await clock.advance(1)
    await expect(verify(token)).rejects.toMatchObject({ code: 'auth_required' })
    keys.close()
  })

  it('remembers a bounded number of tokens and still accepts the others', async () => {
    const verify = createVerifier({ keys: execKeys, rules: EXEC, clock, log: captured.log, cacheSize: 2 })
    const tokens = ['a', 'b', 'c'].map((jti) => withClaims({ jti }))
    const first = []
    for (const token of tokens) first.push(await verify(token))
    expect(first.map(({ tokenId }) => tokenId)).toEqual(['a', 'b', 'c'])
    // The same object comes back only from memory; the oldest had to leave.
    expect(await verify(tokens[2] ?? '')).toBe(first[2])
    expect(await verify(tokens[0] ?? '')).not.toBe(first[0])
    expect(await verify(tokens[0] ?? '')).toEqual(first[0])
  })
})

describe('an issued token', () => {
  it('comes back as the principal it was issued for, before and after a rotation', async () => {
    const verify = verifier()
    const roles = ['platform_admin']
    const before = await issueToken({ keys: execKeys, rules: EXEC, clock }, { ...NEW_TOKEN, roles })
    await execKeys.rotate()
    await clock.advance(60_000)
    const after = await issueToken({ keys: execKeys, rules: EXEC, clock }, NEW_TOKEN)
    expect(await verify(before.token)).toEqual({
      issuedAt: before.expiresAt.getTime() - NEW_TOKEN.lifetimeSeconds * 1_000,
      subject: NEW_TOKEN.subject,
      tenantId: TENANT,
      scopes: new Set(NEW_TOKEN.scopes),
      roles: new Set(roles),
      tokenId: before.tokenId,
      expiresAt: before.expiresAt.getTime(),
    })
    expect(await verify(after.token)).toMatchObject({ roles: new Set() })
  })

  it.each([0, -1, 601, 1.5, Number.NaN])('cannot live %s seconds', async (lifetimeSeconds) => {
    const issue = issueToken({ keys: execKeys, rules: EXEC, clock }, { ...NEW_TOKEN, lifetimeSeconds })
    await expect(issue).rejects.toThrow(RangeError)
  })
})

describe('a token that our own verifier would refuse', () => {
  it.each([
    { subject: '' },
    { subject: 'operator:jörg' },
    { subject: 'two words' },
    { tenantId: 'buildos-dev' },
    { scopes: ['a b'] },
    { roles: [''] },
  ])('is not issued: %j', async (change) => {
    const issue = issueToken({ keys: execKeys, rules: EXEC, clock }, { ...NEW_TOKEN, ...change })
    await expect(issue).rejects.toThrow(RangeError)
  })
})

describe('the Authorization header', () => {
  it.each([undefined, '', 'Bearer', 'Bearer ', 'Basic abc', 'Bearer a b', 'xBearer a', 'Bearer a\nb'])(
    'without one bearer token is refused: %j',
    (header) => {
      expect(() => bearerToken(header)).toThrow(Problem)
    },
  )

  it('names its scheme in any case', () => {
    expect(bearerToken('bearer abc')).toBe('abc')
  })
})
