import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { createVerifier } from '../../platform/auth/tokens.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { newId } from '../../platform/ids.ts'
import { createWorkspace, setWorkspaceStatus } from '../workspaces/workspaces.ts'
import {
  AUDIENCES,
  createIdentity,
  getIdentity,
  type Plane,
  revokeIdentity,
  rotateClientSecret,
  SCOPES,
  type Scope,
} from './identities.ts'
import { oauthControl } from './oauth.control.ts'
import { oauthExec } from './oauth.exec.ts'

interface PlaneUnderTest {
  readonly access: TenantAccess
  readonly app: HttpServer
}

const captured = capturedLog()
let database: TestDatabase
let planes: Record<Plane, PlaneUnderTest>
let tenantId: string

beforeAll(async () => {
  database = await testDatabase()
  const plane = async (name: Plane): Promise<PlaneUnderTest> => {
    const access = await tenantAccess(database, { audience: AUDIENCES[name], log: captured.log })
    const app = await access.server()
    const { keys, rules, directory } = access
    const deps = {
      db: database.db,
      directory,
      keys,
      rules,
      lifetimeSeconds: 300,
      clock: database.platform.clock,
    }
    if (name === 'exec') oauthExec(app, deps)
    else oauthControl(app, deps)
    app.post('/json', { config: { access: 'public' }, schema: { hide: true } }, async ({ body }) => ({
      body,
    }))
    await app.ready()
    return { access, app }
  }
  planes = { exec: await plane('exec'), control: await plane('control') }
  tenantId = (await planes.exec.access.workspace('buildos-dev')).id
})
afterAll(async () => {
  await planes.exec.access.close()
  await planes.control.access.close()
  await database.drop()
})

let made = 0
async function newClient(scopes: readonly Scope[] = SCOPES, tenant = tenantId) {
  const name = `svc:client-${++made}`
  const { identity, clientSecret } = await createIdentity(
    database.db,
    { tenantId: tenant, name, scopes },
    CHANGE,
  )
  return { id: identity.id, secret: clientSecret.reveal(), name }
}
type Client = Awaited<ReturnType<typeof newClient>>

const FORM = 'application/x-www-form-urlencoded'
const SAME = { 'x-request-id': 'same', traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` }

async function post(payload: string, headers: Record<string, string> = {}, plane: Plane = 'exec') {
  const response = await planes[plane].app.inject({
    method: 'POST',
    url: '/oauth/token',
    headers: { 'content-type': FORM, ...SAME, ...headers },
    payload,
  })
  return { status: response.statusCode, body: response.json(), raw: response.body, headers: response.headers }
}
const form = (fields: Record<string, string>) => new URLSearchParams(fields).toString()
const fieldsOf = ({ id, secret }: Client) => ({
  grant_type: 'client_credentials',
  client_id: id,
  client_secret: secret,
})
const ask = (client: Client, more: Record<string, string> = {}, plane: Plane = 'exec') =>
  post(form({ ...fieldsOf(client), ...more }), {}, plane)
const basic = (id: string, secret: string) => ({
  authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`,
})
const GRANT = form({ grant_type: 'client_credentials' })

const verify = (plane: Plane, token: string) => {
  const { keys, rules } = planes[plane].access
  return createVerifier({ keys, rules, clock: database.platform.clock, log: captured.log })(token)
}

describe('POST /oauth/token', () => {
  it.each<[Plane, string]>([
    ['exec', 'orchestrator.execute orchestrator.jobs.write orchestrator.jobs.read orchestrator.events.read'],
    ['control', 'orchestrator.control.read orchestrator.control.write'],
  ])('gives a token of the %s plane with the scopes of that plane only', async (plane, scope) => {
    const client = await newClient()
    const { status, body, headers } = await ask(client, {}, plane)
    expect(status).toBe(200)
    expect(body).toEqual({ access_token: expect.any(String), token_type: 'Bearer', expires_in: 300, scope })
    expect(headers['cache-control']).toBe('no-store')
    expect(await verify(plane, body.access_token)).toMatchObject({
      subject: client.name,
      tenantId,
      scopes: new Set(scope.split(' ')),
      roles: new Set(),
    })
    await expect(verify(plane === 'exec' ? 'control' : 'exec', body.access_token)).rejects.toMatchObject({
      code: 'auth_required',
    })
  })

  it('takes the credentials by HTTP Basic too, form-encoded or not', async () => {
    const client = await newClient()
    const encoded = `%${client.secret.charCodeAt(0).toString(16)}${client.secret.slice(1)}`
    for (const secret of [client.secret, encoded])
      expect((await post(GRANT, basic(client.id, secret))).status).toBe(200)
  })

  it('ignores an audience, a tenant and other unknown parameters', async () => {
    const client = await newClient()
    const { body } = await ask(client, { audience: AUDIENCES.control, tenant_id: newId(), foo: 'bar' })
    expect(await verify('exec', body.access_token)).toMatchObject({ tenantId })
  })

  it('narrows the scopes on request and never widens them', async () => {
    const client = await newClient(['orchestrator.execute', 'orchestrator.jobs.read'])
    const narrowed = await ask(client, { scope: 'orchestrator.jobs.read' })
    expect(narrowed.body.scope).toBe('orchestrator.jobs.read')
    expect((await ask(client, { scope: ' ' })).body.scope).toBe('orchestrator.execute orchestrator.jobs.read')
    for (const scope of [
      'orchestrator.jobs.write',
      'orchestrator.execute admin',
      'orchestrator.control.read',
    ])
      expect((await ask(client, { scope })).body).toMatchObject({
        status: 400,
        code: 'validation_error',
        error: 'invalid_scope',
        details: [{ path: '/body/scope' }],
      })
  })

  it('refuses an identity without any scope of the plane', async () => {
    const client = await newClient(['orchestrator.execute'])
    expect((await ask(client, {}, 'control')).body).toMatchObject({
      status: 403,
      code: 'forbidden',
      error: 'unauthorized_client',
    })
  })

  it('remembers to the minute when an identity was used', async () => {
    const client = await newClient()
    await ask(client)
    const used = (await getIdentity(database.db, { tenantId, id: client.id })).lastUsedAt
    expect(used).toBeInstanceOf(Date)
    await ask(client)
    expect((await getIdentity(database.db, { tenantId, id: client.id })).lastUsedAt).toEqual(used)
  })
})

describe('credentials that are not right', () => {
  it('get the same bytes, whatever is wrong with them', async () => {
    const client = await newClient()
    const revoked = await newClient()
    await revokeIdentity(database.db, { tenantId, id: revoked.id }, CHANGE)
    const prod = await createWorkspace(
      { db: database.db, environment: 'prod' },
      { slug: 'buildos-prod', name: 'x' },
      CHANGE,
    )
    const elsewhere = await newClient(SCOPES, prod.id)
    const answers = await Promise.all([
      ask({ ...client, secret: `${client.secret}x` }),
      ask({ ...client, secret: client.secret.slice(1) }),
      ask({ ...client, secret: (await newClient()).secret }),
      ask({ ...client, id: newId() }),
      ask({ ...client, id: 'svc:client-1' }),
      ask({ ...client, id: "' or 1=1 --" }),
      ask({ ...client, id: '00000000-0000-0000-0000-000000000000' }),
      ask(revoked),
      ask(elsewhere),
      post(GRANT, basic(client.id, 'wrong')),
      post(GRANT, basic('nobody', client.secret)),
    ])
    for (const { status, raw, headers } of answers) {
      expect(status).toBe(401)
      expect(raw).toBe(answers[0]?.raw)
      expect(headers['www-authenticate']).toMatch(/^Basic /)
      expect(headers['cache-control']).toBe('no-store')
      expect(headers['content-type']).toContain('application/problem+json')
    }
    expect(answers[0]?.body).toMatchObject({ code: 'client_credentials_invalid', error: 'invalid_client' })
    expect(answers[0]?.body.error_description).toBe(answers[0]?.body.detail)
  })

  it('are looked up and compared the same way for a known and an unknown client', async () => {
    const client = await newClient()
    const statements: string[] = []
    const spy = vi.spyOn(database.db, 'execute').mockImplementation(async (statement) => {
      statements.push(statement.name)
      return { rows: [], rowCount: 0 } as never
    })
    await ask({ ...client, secret: 'wrong' })
    await ask({ ...client, id: 'not-a-uuid' })
    spy.mockRestore()
    expect(statements).toEqual(['identities.credentials', 'identities.credentials'])
  })

  it('never reach the log, and neither do good ones', async () => {
    const client = await newClient()
    const { body } = await ask(client)
    await ask({ ...client, secret: 'a-wrong-secret' })
    await ask({ ...client, id: 'pasted-secret-as-id' })
    await post(GRANT, basic('pasted-secret-as-basic-id', 'another-wrong-secret'))
    const logged = captured.text()
    expect(logged).toContain(client.id)
    for (const hidden of [
      client.secret,
      body.access_token,
      'a-wrong-secret',
      'pasted-secret',
      'another-wrong',
    ])
      expect(logged).not.toContain(hidden)
  })
})

describe('rotation of a client secret', () => {
  const rotate = async (id: string, overlapSeconds: number) =>
    (await rotateClientSecret(database.db, { tenantId, id, overlapSeconds }, CHANGE)).clientSecret.reveal()

  it('accepts both secrets during the overlap, and of three only the last two', async () => {
    const client = await newClient()
    const second = await rotate(client.id, 3_600)
    expect((await ask(client)).status).toBe(200)
    expect((await ask({ ...client, secret: second })).status).toBe(200)
    const third = await rotate(client.id, 3_600)
    expect((await ask(client)).status).toBe(401)
    expect((await ask({ ...client, secret: second })).status).toBe(200)
    expect((await ask({ ...client, secret: third })).status).toBe(200)
  })

  it('ends the old secret at once when told so, and when the overlap is over', async () => {
    const client = await newClient()
    const second = await rotate(client.id, 0)
    expect((await ask(client)).status).toBe(401)
    await rotate(client.id, 3_600)
    await database.db.execute(
      {
        name: 't.expire',
        text: `update service_identity set previous_secret_until = now() - interval '1 s' where id = $1`,
      },
      [client.id],
    )
    expect((await ask({ ...client, secret: second })).status).toBe(401)
    expect((await getIdentity(database.db, { tenantId, id: client.id })).previousSecretUntil).toBeNull()
  })
})

describe('a suspended workspace', () => {
  it('gets no token, and says so only to whoever knows the secret', async () => {
    const workspace = await planes.exec.access.workspace('paused-dev')
    const client = await newClient(SCOPES, workspace.id)
    await ask(client)
    const deps = { db: database.db, environment: 'dev' as const }
    await setWorkspaceStatus(deps, { id: workspace.id, status: 'suspended' }, CHANGE)
    await vi.waitFor(async () =>
      expect((await ask(client)).body).toMatchObject({
        status: 403,
        code: 'workspace_suspended',
        error: 'unauthorized_client',
      }),
    )
    expect((await ask({ ...client, secret: 'wrong' })).body.code).toBe('client_credentials_invalid')
  })
})

describe('a token request that is not one', () => {
  const good = { grant_type: 'client_credentials', client_id: 'x', client_secret: 'y' }
  const { client_id: _i, ...noId } = good
  const { client_secret: _s, ...noSecret } = good

  it.each<[string, string, Record<string, string>, string]>([
    ['without grant type', form({ client_id: 'x', client_secret: 'y' }), {}, 'invalid_request'],
    ['of another grant', form({ ...good, grant_type: 'password' }), {}, 'unsupported_grant_type'],
    ['without client id', form(noId), {}, 'invalid_request'],
    ['without secret', form(noSecret), {}, 'invalid_request'],
    ['with an empty secret', form({ ...good, client_secret: '' }), {}, 'invalid_request'],
    ['with a parameter twice', `${form(good)}&client_id=z`, {}, 'invalid_request'],
    ['with two ways to authenticate', form(good), basic('x', 'y'), 'invalid_request'],
    ['with two client ids', form(noSecret), basic('z', 'y'), 'invalid_request'],
    ['with a bearer token', GRANT, { authorization: 'Bearer x' }, 'invalid_request'],
    ['with broken Basic', GRANT, { authorization: 'Basic !!!' }, 'invalid_request'],
    ['with Basic without colon', GRANT, { authorization: `Basic ${btoa('nocolon')}` }, 'invalid_request'],
    ['with a scope of 1,001 characters', form({ ...good, scope: 's'.repeat(1_001) }), {}, 'invalid_request'],
    ['that is empty', '', {}, 'invalid_request'],
  ])('is refused %s', async (_name, payload, headers, error) => {
    const { status, body, headers: answered } = await post(payload, headers)
    expect([status, body.error]).toEqual([400, error])
    expect(body.error_description).toBe(body.detail)
    expect(answered['cache-control']).toBe('no-store')
  })

  it.each<[string, string, Record<string, string>, number]>([
    ['JSON', JSON.stringify(good), { 'content-type': 'application/json' }, 415],
    ['larger than 4 KiB', form({ ...good, foo: 'x'.repeat(5_000) }), {}, 413],
  ])('is refused as %s', async (_name, payload, headers, expected) => {
    const { status, body } = await post(payload, headers)
    expect([status, body.error]).toEqual([expected, 'invalid_request'])
  })

  it('does not teach the other endpoints to read forms', async () => {
    const { app } = planes.exec
    const headers = { 'content-type': FORM }
    const response = await app.inject({ method: 'POST', url: '/json', headers, payload: 'a=1' })
    expect(response.statusCode).toBe(415)
    const json = await app.inject({ method: 'POST', url: '/json', payload: { a: 1 } })
    expect(json.json()).toEqual({ body: { a: 1 } })
  })
})

describe('the published API', () => {
  it('says that the token endpoint takes a form and needs no token', async () => {
    const document = (await planes.exec.app.inject('/openapi.json')).json()
    const operation = document.paths['/oauth/token'].post
    expect(Object.keys(operation.requestBody.content)).toEqual([FORM])
    expect(operation.security).toBeUndefined()
  })
})

describe('GET /.well-known/jwks.json', () => {
  it('publishes the public keys of its own plane, for less time than a new key waits to sign', async () => {
    const kids = await Promise.all(
      (['exec', 'control'] as const).map(async (plane) => {
        const response = await planes[plane].app.inject('/.well-known/jwks.json')
        expect(response.headers['content-type']).toContain('application/jwk-set+json')
        expect(Number(/max-age=(\d+)/.exec(String(response.headers['cache-control']))?.[1])).toBeLessThan(60)
        const { keys } = response.json()
        expect(Object.keys(keys[0]).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x'])
        expect(keys[0].kid).toBe(planes[plane].access.keys.signer().kid)
        return keys[0].kid
      }),
    )
    expect(kids[0]).not.toBe(kids[1])
  })
})
