/** Machines do not say which issuers are trusted: one could sign as many others as it likes. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { newId } from '../../platform/ids.ts'
import { trustedIssuersControl } from './trusted-issuers.control.ts'

let database: TestDatabase
let access: TenantAccess
let app: HttpServer
let tenantId: string
let admin: string

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  app = await access.server()
  trustedIssuersControl(app, {
    db: database.db,
    rules: { ownIssuer: 'orchestrator', allowHttp: true, refusal: () => undefined },
  })
  await app.ready()
  tenantId = (await access.workspace('trusting-dev')).id
  admin = await access.bearer(tenantId, { scopes: [], roles: ['admin'], subject: 'operator:ann@example.com' })
})
afterAll(async () => {
  await access.close()
  await database.drop()
})

const call = (method: 'POST' | 'PUT' | 'DELETE', url: string, authorization: string, payload?: object) =>
  app.inject({ method, url, headers: { authorization }, ...(payload && { payload }) })
const trust = (name: string) => ({
  ...{ issuer: `https://${name}.test/`, jwks_url: `https://${name}.test/jwks.json`, reason: 'a test' },
  scopes: ['orchestrator.control.write'],
})

it.each([
  ['a service identity', 'svc:automation'],
  ['a caller of a trusted issuer', 'ext:idp:backend'],
])('%s trusts no issuer and changes none, but may distrust one', async (_who, subject) => {
  const machine = await access.bearer(tenantId, { subject, sessionId: `${newId()}.1` })
  const name = subject.replaceAll(':', '-')
  const made = await call('POST', '/trusted-issuers', admin, { name, ...trust(name) })
  expect(made.statusCode).toBe(201)
  const one = `/trusted-issuers/${made.json().id}`
  const refused = [
    await call('POST', '/trusted-issuers', machine, { name: 'mine', ...trust('mine') }),
    await call('PUT', one, machine, trust('mine')),
  ]
  expect(refused.map((answer) => [answer.statusCode, answer.json().code])).toEqual([
    [403, 'forbidden'],
    [403, 'forbidden'],
  ])
  expect((await call('DELETE', `${one}?reason=x`, machine)).statusCode).toBe(204)
})

it('a token that was signed on the host may trust one', async () => {
  const host = await access.bearer(tenantId, { subject: 'operator:root' })
  const made = await call('POST', '/trusted-issuers', host, { name: 'of-the-host', ...trust('of-the-host') })
  expect(made.statusCode).toBe(201)
})
