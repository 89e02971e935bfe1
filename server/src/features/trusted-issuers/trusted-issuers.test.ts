import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { newId } from '../../platform/ids.ts'
import { listAudit } from '../audit/audit.ts'
import { trustedIssuersControl } from './trusted-issuers.control.ts'

let database: TestDatabase
let access: TenantAccess
let dev: HttpServer
let prod: HttpServer
let tenantId: string
let mine: string
let foreign: string

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  const server = async (allowHttp: boolean) => {
    const app = await access.server()
    const refusal = (url: string) =>
      url.includes('169.254') ? 'The target address is not allowed.' : undefined
    const rules = { ownIssuer: 'orchestrator', allowHttp, refusal }
    trustedIssuersControl(app, { db: database.db, rules })
    await app.ready()
    return app
  }
  dev = await server(true)
  prod = await server(false)
  tenantId = (await access.workspace('buildos-dev')).id
  mine = await access.bearer(tenantId)
  foreign = await access.bearer((await access.workspace('beauty-dev')).id)
})
afterAll(async () => {
  await access.close()
  await database.drop()
})

async function call(
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  url: string,
  {
    payload,
    authorization = mine,
    app = dev,
  }: { payload?: object; authorization?: string; app?: HttpServer } = {},
) {
  const response = await app.inject({
    method,
    url,
    headers: {
      authorization,
      'x-request-id': 'same',
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    },
    ...(payload && { payload }),
  })
  return {
    status: response.statusCode,
    body: response.body === '' ? undefined : response.json(),
    raw: response.body,
  }
}

let made = 0
const body = (more: object = {}) => ({
  name: `idp-${++made}`,
  issuer: `https://idp-${made}.test/`,
  jwks_url: `https://idp-${made}.test/jwks.json`,
  scopes: ['orchestrator.execute'],
  reason: 'our identity provider',
  ...more,
})
const create = async () => (await call('POST', '/trusted-issuers', { payload: body() })).body

describe('/trusted-issuers', () => {
  it('makes, shows, changes and deletes one, each with its audit entry', async () => {
    const { status, body: created } = await call('POST', '/trusted-issuers', { payload: body() })
    expect(status).toBe(201)
    expect(created).toMatchObject({ name: `idp-${made}`, subjects: null, scopes: ['orchestrator.execute'] })
    const at = `/trusted-issuers/${created.id}`
    const { name: _, ...change } = body({ subjects: ['backend'] })
    expect((await call('PUT', at, { payload: change })).body).toMatchObject({
      issuer: change.issuer,
      subjects: ['backend'],
      name: created.name,
    })
    expect((await call('GET', at)).body.subjects).toEqual(['backend'])
    expect((await call('DELETE', at)).status).toBe(400)
    expect((await call('DELETE', `${at}?reason=moved`)).status).toBe(204)
    expect((await call('GET', at)).status).toBe(404)
    const entries = await listAudit(database.db, { tenantId, limit: 3 })
    expect(entries.map(({ action, reason }) => [action, reason])).toEqual([
      ['trusted_issuer.deleted', 'moved'],
      ['trusted_issuer.changed', 'our identity provider'],
      ['trusted_issuer.created', 'our identity provider'],
    ])
    expect(entries[1]?.diff[0]).toMatchObject({
      before: { subjects: null },
      after: { subjects: ['backend'] },
    })
  })

  it.each<[string, object, string]>([
    ['of the hub itself', { issuer: 'orchestrator' }, '/body/issuer'],
    ['whose keys are at a forbidden address', { jwks_url: 'https://169.254.169.254/jwks' }, '/body/jwks_url'],
    ['with a fragment in its URL', { jwks_url: 'https://idp.test/jwks#x' }, '/body/jwks_url'],
    ['with a URL that is none', { jwks_url: 'https://' }, '/body/jwks_url'],
    ['with a file as URL', { jwks_url: 'file:///etc/passwd' }, '/body/jwks_url'],
    ['with an unknown scope', { scopes: ['admin'] }, '/body/scopes/0'],
    ['without a scope', { scopes: [] }, '/body/scopes'],
    ['with no subject at all', { subjects: [] }, '/body/subjects'],
    ['with a name that could end a subject', { name: 'a:b' }, '/body/name'],
  ])('refuses one %s', async (_what, more, path) => {
    const { status, body: problem } = await call('POST', '/trusted-issuers', { payload: body(more) })
    expect([status, problem.code]).toEqual([400, 'validation_error'])
    expect(problem.details.map((detail: { path: string }) => detail.path)).toContain(path)
  })

  it('takes keys over plain HTTP in dev only', async () => {
    const payload = body({ jwks_url: 'http://idp.test/jwks' })
    const refused = await call('POST', '/trusted-issuers', { payload, app: prod })
    expect([refused.status, refused.body.details[0].path]).toEqual([400, '/body/jwks_url'])
    expect((await call('POST', '/trusted-issuers', { payload })).status).toBe(201)
  })

  it('trusts an issuer once, under one name', async () => {
    const { name, issuer, id } = await create()
    expect((await call('POST', '/trusted-issuers', { payload: body({ name }) })).status).toBe(409)
    expect((await call('POST', '/trusted-issuers', { payload: body({ issuer }) })).status).toBe(409)
    const second = await create()
    const { name: _, ...change } = body({ issuer: second.issuer })
    expect((await call('PUT', `/trusted-issuers/${id}`, { payload: change })).status).toBe(409)
    // Another workspace may trust it, too.
    const theirs = await call('POST', '/trusted-issuers', {
      payload: body({ name, issuer }),
      authorization: foreign,
    })
    expect(theirs.status).toBe(201)
  })

  it('of another workspace is found as little as a missing one, byte for byte', async () => {
    const { id } = await create()
    const { name: _, ...change } = body()
    for (const [method, suffix, payload] of [
      ['GET', '', undefined],
      ['PUT', '', change],
      ['DELETE', '?reason=x', undefined],
    ] as const) {
      const [theirs, missing] = [id, newId()].map((each) =>
        call(method, `/trusted-issuers/${each}${suffix}`, {
          authorization: foreign,
          ...(payload && { payload }),
        }),
      )
      const answers = await Promise.all([theirs, missing])
      const same = (raw = '') => raw.replace(/[0-9a-f-]{36}/g, '<id>')
      expect(answers[0]?.status).toBe(404)
      expect(same(answers[0]?.raw)).toBe(same(answers[1]?.raw))
    }
    expect((await call('GET', `/trusted-issuers/${id}`)).status).toBe(200)
  })

  it('pages through its own, at most twenty of them', async () => {
    const tenant = (await access.workspace('many-dev')).id
    const authorization = await access.bearer(tenant)
    for (let count = 0; count < 20; count += 1)
      expect((await call('POST', '/trusted-issuers', { payload: body(), authorization })).status).toBe(201)
    expect((await call('POST', '/trusted-issuers', { payload: body(), authorization })).status).toBe(409)
    const first = await call('GET', '/trusted-issuers?limit=15', { authorization })
    const rest = await call('GET', `/trusted-issuers?limit=15&cursor=${first.body.next_cursor}`, {
      authorization,
    })
    expect([first.body.data.length, rest.body.data.length, rest.body.next_cursor]).toEqual([15, 5, null])
  })

  it('needs the scope to write, reading needs the scope to read', async () => {
    const reader = await access.bearer(tenantId, { scopes: ['orchestrator.control.read'] })
    expect((await call('GET', '/trusted-issuers', { authorization: reader })).status).toBe(200)
    const denied = await call('POST', '/trusted-issuers', { payload: body(), authorization: reader })
    expect(denied.status).toBe(403)
  })
})
