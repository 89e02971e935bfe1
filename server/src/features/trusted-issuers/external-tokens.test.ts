import { createHmac, createSign, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { json, startUpstream, type Upstream } from '../../../testing/upstream.ts'
import { createRemoteKeys } from '../../platform/auth/remote-keys.ts'
import { checkByIssuer, checkOwnToken, issueToken } from '../../platform/auth/tokens.ts'
import { rememberVerified } from '../../platform/auth/verified-tokens.ts'
import { createDial, type Dial } from '../../platform/dial/dial.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { createHttpServer } from '../../platform/http/server.ts'
import { newId } from '../../platform/ids.ts'
import { createEndedTokens, type EndedTokens } from '../ended-tokens/ended-tokens.ts'
import { AUDIENCES, PLANE_SCOPES } from '../identities/identities.ts'
import { authorizationOf } from '../permissions/permissions.ts'
import { createAuthenticate } from '../workspaces/workspaces.ts'
import {
  changeIssuer,
  checkExternalToken,
  createIssuerDirectory,
  distrustIssuer,
  type IssuerDirectory,
  type Trust,
  trustIssuer,
} from './trusted-issuers.ts'

const ISS = 'https://idp.test/'
const OTHER_ISS = 'https://other-idp.test/'

let database: TestDatabase
let access: TenantAccess
let idp: Upstream
let otherIdp: Upstream
let dial: Dial
let issuers: IssuerDirectory
let ended: EndedTokens
let app: HttpServer
let a: string
let b: string
let trustedId: string

const ed = generateKeyPairSync('ed25519')
const next = generateKeyPairSync('ed25519')
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const stranger = generateKeyPairSync('ed25519')
const jwkOf = (key: KeyObject, kid: string) => ({ ...key.export({ format: 'jwk' }), kid, use: 'sig' })
const KEYS = [jwkOf(ed.publicKey, 'ed'), jwkOf(ec.publicKey, 'ec'), jwkOf(rsa.publicKey, 'rsa')]

const rules = { ownIssuer: 'orchestrator', allowHttp: true, refusal: () => undefined }
const trust = (): Trust => ({
  issuer: ISS,
  jwksUrl: `${idp.url}/jwks.json`,
  scopes: ['orchestrator.jobs.read', 'orchestrator.control.read'],
  subjects: null,
})

beforeAll(async () => {
  database = await testDatabase()
  const { db, platform } = database
  access = await tenantAccess(database, { audience: AUDIENCES.exec })
  idp = await startUpstream(json(200, { keys: KEYS }))
  otherIdp = await startUpstream(json(200, { keys: [jwkOf(stranger.publicKey, 'ed')] }))
  const { log } = capturedLog()
  dial = createDial({ allowCidrs: ['127.0.0.0/8'], metrics: platform.metrics, log })
  issuers = createIssuerDirectory(platform)
  ended = createEndedTokens(platform)
  const { clock } = platform
  const { keys, directory } = access
  const plane = { ...access.rules, issuer: 'orchestrator' }
  const check = checkByIssuer(
    plane.issuer,
    checkOwnToken({ keys, rules: plane, clock }),
    checkExternalToken({ issuers, keys: createRemoteKeys({ dial, clock, log }), rules: plane, clock }),
  )
  app = await createHttpServer({
    ...{ log, metrics: platform.metrics, trustedProxies: [], bodyLimitBytes: 10_000 },
    ...{ handlerTimeoutMs: 20_000, checks: [] },
    access: {
      authenticate: createAuthenticate({ verify: rememberVerified({ check, clock, log }), directory, ended }),
      authorization: authorizationOf(PLANE_SCOPES.exec),
    },
  })
  app.get('/who', { config: { access: { permission: 'jobs.read' } } }, async ({ principal }) => ({
    ...principal,
    scopes: [...principal.scopes],
    roles: [...principal.roles],
  }))
  await app.ready()
  a = (await access.workspace('buildos-dev')).id
  b = (await access.workspace('beauty-dev')).id
  const trusted = await trustIssuer(db, rules, { tenantId: a, name: 'idp', ...trust() }, CHANGE)
  trustedId = trusted.id
  const theirs = { ...trust(), issuer: OTHER_ISS, jwksUrl: `${otherIdp.url}/jwks.json` }
  await trustIssuer(db, rules, { tenantId: b, name: 'idp', ...theirs }, CHANGE)
  await vi.waitFor(() => expect(issuers.find(b, OTHER_ISS)).toBeDefined())
})
afterAll(async () => {
  await app.close()
  issuers.close()
  ended.close()
  await dial.close()
  await Promise.all([idp.close(), otherIdp.close()])
  await access.close()
  await database.drop()
})

const seconds = () => Math.floor(Date.now() / 1_000)
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const HEADER = { alg: 'EdDSA', typ: 'at+jwt', kid: 'ed' }
const goodClaims = () => ({
  iss: ISS,
  sub: 'backend',
  aud: AUDIENCES.exec,
  tid: a,
  scope: 'orchestrator.jobs.read orchestrator.execute',
  jti: newId(),
  iat: seconds(),
  exp: seconds() + 300,
})
type Claims = Record<string, unknown>

function forge(claims: Claims, header: object = {}, key: KeyObject = ed.privateKey): string {
  const input = `${encode({ ...HEADER, ...header })}.${encode({ ...goodClaims(), ...claims })}`
  return `${input}.${sign(null, Buffer.from(input), key).toString('base64url')}`
}
function es256(claims: Claims = {}, header: object = {}): string {
  const full = { ...HEADER, alg: 'ES256', kid: 'ec', ...header }
  const input = `${encode(full)}.${encode({ ...goodClaims(), ...claims })}`
  const key = { key: ec.privateKey, dsaEncoding: 'ieee-p1363' as const }
  return `${input}.${createSign('sha256').update(input).sign(key).toString('base64url')}`
}
function rs256(): string {
  const input = `${encode({ ...HEADER, alg: 'RS256', kid: 'rsa' })}.${encode(goodClaims())}`
  return `${input}.${createSign('sha256').update(input).sign(rsa.privateKey).toString('base64url')}`
}
function hs256(kid: string, secret: string): string {
  const input = `${encode({ ...HEADER, alg: 'HS256', kid })}.${encode(goodClaims())}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}
const who = async (token: string) => {
  const response = await app.inject({ url: '/who', headers: { authorization: `Bearer ${token}` } })
  return { status: response.statusCode, body: response.json() }
}
const pem = (key: KeyObject) => String(key.export({ format: 'pem', type: 'spki' }))

describe('a token of a trusted issuer', () => {
  it('is somebody whose name no identity of the hub can have, with the scopes that both sides give', async () => {
    const { status, body } = await who(forge({ roles: ['admin', 'platform_admin'], sid: 'their-session' }))
    expect(status).toBe(200)
    expect(body).toMatchObject({
      subject: 'ext:idp:backend',
      tenantId: a,
      scopes: ['orchestrator.jobs.read'],
      roles: [],
      sessionId: `${trustedId}.1`,
    })
  })

  it('may be signed by ES256, and say scopes as the hub does', async () => {
    const token = es256({ scope: undefined, scopes: ['orchestrator.jobs.read'] })
    expect((await who(token)).status).toBe(200)
  })

  it('gives nothing that the issuer may not give', async () => {
    expect((await who(forge({ scope: 'orchestrator.execute orchestrator.jobs.write' }))).status).toBe(403)
  })
})

const FORGED: Record<string, () => string | Promise<string>> = {
  'of an issuer of one workspace for another workspace': () => forge({ tid: b }),
  'of an issuer of the other workspace for this one': () =>
    forge({ iss: OTHER_ISS }, {}, stranger.privateKey),
  'of nobody’s issuer': () => forge({ iss: 'https://unknown.test/' }),
  'for a workspace that does not exist': () => forge({ tid: newId() }),
  'that claims to be of the hub': () => forge({ iss: 'orchestrator' }),
  'that claims to be of the hub, with a key of the hub’s name': () =>
    forge({ iss: 'orchestrator', scopes: ['orchestrator.execute'] }, { kid: access.keys.signer().kid }),
  'signed by the hub in the name of the issuer': async () => {
    const deps = { keys: access.keys, clock: database.platform.clock }
    const asIdp = { ...access.rules, issuer: ISS }
    const token = { subject: 'svc:x', tenantId: a, scopes: ['orchestrator.jobs.read'], lifetimeSeconds: 60 }
    return (await issueToken({ ...deps, rules: asIdp }, token)).token
  },
  'with the key id of another issuer’s key': () => forge({}, {}, stranger.privateKey),
  'with an unknown key id': () => forge({}, { kid: 'nobody' }),
  'without key id': () => forge({}, { kid: undefined }),
  'with the id of a key of another algorithm': () => forge({}, { kid: 'ec' }),
  'that says ES256 for an Ed25519 key': () => es256({}, { kid: 'ed' }),
  'alg none': () => `${encode({ ...HEADER, alg: 'none' })}.${encode(goodClaims())}.`,
  'HS256 with the public key as secret': () => hs256('ed', String(KEYS[0]?.x)),
  'HS256 with the public PEM as secret': () => hs256('ec', pem(ec.publicKey)),
  'RS256 with a key of the set': rs256,
  'with its key at jku': () => forge({}, { jku: `${otherIdp.url}/jwks.json` }, stranger.privateKey),
  'with its key at x5u': () => forge({}, { x5u: `${otherIdp.url}/cert.pem` }, stranger.privateKey),
  'with its key in jwk': () => forge({}, { jwk: jwkOf(stranger.publicKey, 'ed') }, stranger.privateKey),
  'with jku on an otherwise good token': () => forge({}, { jku: `${idp.url}/jwks.json` }),
  'with a certificate in x5c': () => forge({}, { x5c: ['AAAA'] }),
  'with crit': () => forge({}, { crit: ['x'], x: 1 }),
  'that is an ID token': () => forge({}, { typ: 'JWT' }),
  'for the other plane': () => forge({ aud: AUDIENCES.control }),
  'for both planes': () => forge({ aud: [AUDIENCES.exec, AUDIENCES.control] }),
  'without aud': () => forge({ aud: undefined }),
  'without tid': () => forge({ tid: undefined }),
  'with several tids': () => forge({ tid: [a, b] }),
  'without sub': () => forge({ sub: undefined }),
  'with a sub of 121 characters': () => forge({ sub: 'x'.repeat(121) }),
  'with a space in sub': () => forge({ sub: 'a b' }),
  'without jti': () => forge({ jti: undefined }),
  'without exp': () => forge({ exp: undefined }),
  'that has expired': () => forge({ iat: seconds() - 300, exp: seconds() - 6 }),
  'that lives for a day': () => forge({ exp: seconds() + 86_400 }),
  'from the future': () => forge({ iat: seconds() + 60, exp: seconds() + 90 }),
  'that impersonates': () => forge({ act: { sub: 'operator:root' } }),
  'that is for reading only, in words of ours': () => forge({ read_only: true }),
  'bound to a key': () => forge({ cnf: { jkt: 'a'.repeat(43) } }),
  'bound to a certificate that the caller does not show': () =>
    forge({ cnf: { 'x5t#S256': 'a'.repeat(43) } }),
  'with scope and scopes': () => forge({ scopes: ['orchestrator.jobs.read'] }),
  'without scope': () => forge({ scope: undefined }),
  'with a scope that is a list': () => forge({ scope: ['orchestrator.jobs.read'] }),
}

describe('a token that is refused', () => {
  it.each(Object.entries(FORGED))('%s', async (_name, make) => {
    const { status, body } = await who(await make())
    expect([status, body.code]).toEqual([401, 'auth_required'])
    expect(body.detail).toBe('The bearer token is missing or not valid.')
  })

  it('leads to no request to where it points', () => {
    expect(otherIdp.requests.every(({ url }) => url === '/jwks.json')).toBe(true)
    expect(otherIdp.requests.length).toBeLessThanOrEqual(1)
  })
})

describe('when the trust changes', () => {
  beforeEach(async () => {
    const { db } = database
    const before = issuers.find(a, ISS)
    await changeIssuer(db, rules, { tenantId: a, id: trustedId, ...trust() }, CHANGE)
    await vi.waitFor(() => expect(issuers.find(a, ISS)).not.toBe(before))
  })

  it('only the subjects that it names are accepted, and what was issued before ends', async () => {
    const [mine, theirs] = [forge({ sub: 'mine' }), forge({ sub: 'theirs' })]
    expect((await who(theirs)).status).toBe(200)
    const narrowed = { ...trust(), subjects: ['mine'] }
    await changeIssuer(database.db, rules, { tenantId: a, id: trustedId, ...narrowed }, CHANGE)
    await vi.waitFor(async () => expect((await who(theirs)).status).toBe(401))
    await vi.waitFor(async () => expect((await who(mine)).status).toBe(200))
  })

  it('calls go on through a rotation of its keys, and the old key is good no longer', {
    timeout: 30_000,
  }, async () => {
    const old = forge({})
    const statuses = new Set<number>()
    let rotated = false
    const traffic = (async () => {
      while (!rotated) {
        statuses.add((await who(old)).status)
        await turn()
      }
    })()
    idp.reset(json(200, { keys: [...KEYS, jwkOf(next.publicKey, 'next')] }))
    const fresh = () => forge({}, { kid: 'next' }, next.privateKey)
    await vi.waitFor(async () => expect((await who(fresh())).status).toBe(200), { timeout: 10_000 })
    rotated = true
    await traffic
    expect([...statuses]).toEqual([200])
    idp.reset(json(200, { keys: [jwkOf(next.publicKey, 'next')] }))
    // Another look happens with the next key id that nobody knows.
    await vi.waitFor(
      async () => {
        await who(forge({}, { kid: 'unknown' }))
        expect((await who(old)).status).toBe(401)
      },
      { timeout: 10_000, interval: 200 },
    )
    expect((await who(fresh())).status).toBe(200)
    idp.reset(json(200, { keys: KEYS }))
  })

  it('an issuer that is trusted no more has no tokens, also none that were verified before', async () => {
    const extra = { ...trust(), issuer: 'https://leaving.test/', jwksUrl: `${idp.url}/leaving.json` }
    const { id } = await trustIssuer(database.db, rules, { tenantId: a, name: 'leaving', ...extra }, CHANGE)
    const token = forge({ iss: 'https://leaving.test/' })
    await vi.waitFor(async () => expect((await who(token)).status).toBe(200))
    await distrustIssuer(database.db, { tenantId: a, id }, CHANGE)
    await vi.waitFor(async () => expect((await who(token)).status).toBe(401))
    expect((await who(forge({ iss: 'https://leaving.test/' }))).status).toBe(401)
  })
})
