import { hash, X509Certificate } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type Pem, throwAwayAuthority } from '../../../testing/self-signed.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { AUDIENCES, createIdentity, type IdentitySettings } from './identities.ts'
import { oauthExec } from './oauth.exec.ts'

const trusted = throwAwayAuthority('test clients')
const stranger = throwAwayAuthority('strangers')
const server = trusted.issue('localhost')
const CLIENTS = {
  mine: trusted.issue('product'),
  other: trusted.issue('product'),
  'of a stranger': stranger.issue('product'),
  expired: trusted.issue('product', '230101'),
  none: undefined,
} satisfies Record<string, Pem | undefined>
type Client = keyof typeof CLIENTS

const thumbprint = (client: Pem): string => hash('sha256', new X509Certificate(client.cert).raw, 'base64url')

let database: TestDatabase
let access: TenantAccess
let plain: HttpServer
let folder: string
let port: number
let tenantId: string

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database, { audience: AUDIENCES.exec })
  folder = await mkdtemp(join(tmpdir(), 'orch-tls-'))
  const file = (name: string) => join(folder, name)
  await writeFile(file('cert.pem'), server.cert)
  await writeFile(file('key.pem'), server.key)
  await writeFile(file('ca.pem'), trusted.cert)
  const tls = { certFile: file('cert.pem'), keyFile: file('key.pem'), clientCaFile: file('ca.pem') }
  const withRoutes = async (app: HttpServer) => {
    const { keys, rules, directory } = access
    const { clock } = database.platform
    oauthExec(app, { db: database.db, directory, keys, rules, lifetimeSeconds: 300, clock })
    app.get('/who', { config: { access: { permission: 'jobs.read' } } }, async ({ principal }) => ({
      subject: principal.subject,
    }))
    await app.ready()
    return app
  }
  plain = await withRoutes(await access.server())
  const secure = await withRoutes(await access.server({ tls }))
  port = Number(new URL(await secure.listen({ host: '127.0.0.1', port: 0 })).port)
  tenantId = (await access.workspace('buildos-dev')).id
})
afterAll(async () => {
  await access.close()
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

/** One request on a connection of its own. */
async function call(
  client: Client,
  path: string,
  { body, headers = {} }: { body?: string; headers?: Record<string, string> } = {},
) {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request(
      {
        host: '127.0.0.1',
        servername: 'localhost',
        port,
        path,
        method: body === undefined ? 'GET' : 'POST',
        headers,
        agent: false,
        ca: trusted.cert,
        ...CLIENTS[client],
      },
      resolve,
    )
      .once('error', reject)
      .end(body)
  })
  return { status: response.statusCode, body: JSON.parse(await text(response)) }
}

let made = 0
async function identity(settings: Partial<IdentitySettings>) {
  const name = `svc:bound-${++made}`
  const scopes = ['orchestrator.jobs.read'] as const
  const created = await createIdentity(database.db, { tenantId, name, scopes, ...settings }, CHANGE)
  return { id: created.identity.id, secret: created.clientSecret.reveal(), name }
}
const formOf = ({ id, secret }: { id: string; secret: string }) =>
  new URLSearchParams({ grant_type: 'client_credentials', client_id: id, client_secret: secret }).toString()
const FORM = { 'content-type': 'application/x-www-form-urlencoded' }
const ask = async (who: Awaited<ReturnType<typeof identity>>, client: Client) =>
  call(client, '/oauth/token', { body: formOf(who), headers: FORM })
const use = async (token: string, client: Client, headers: Record<string, string> = {}) =>
  (await call(client, '/who', { headers: { authorization: `Bearer ${token}`, ...headers } })).status

describe('a certificate-bound token', () => {
  it('names the certificate of the connection on which it was asked for', async () => {
    const { status, body } = await ask(await identity({ certificateBound: true }), 'mine')
    expect(status).toBe(200)
    const claims = JSON.parse(Buffer.from(body.access_token.split('.')[1], 'base64url').toString())
    expect(claims.cnf).toEqual({ 'x5t#S256': thumbprint(CLIENTS.mine) })
  })

  it('is good with this certificate only', async () => {
    const { body } = await ask(await identity({ certificateBound: true }), 'mine')
    const statuses = Object.fromEntries(
      await Promise.all(
        (Object.keys(CLIENTS) as Client[]).map(async (client) => [
          client,
          await use(body.access_token, client),
        ]),
      ),
    )
    expect(statuses).toEqual({ mine: 200, other: 401, 'of a stranger': 401, expired: 401, none: 401 })
  })

  it('is not believed by a header, and not without TLS', async () => {
    const { body } = await ask(await identity({ certificateBound: true }), 'mine')
    const claim = Buffer.from(new X509Certificate(CLIENTS.mine.cert).raw).toString('base64')
    const headers = { 'x-client-cert': claim, 'client-cert': `:${claim}:`, 'x-ssl-client-cert': claim }
    expect(await use(body.access_token, 'none', headers)).toBe(401)
    const authorization = `Bearer ${body.access_token}`
    const response = await plain.inject({ url: '/who', headers: { authorization, ...headers } })
    expect(response.statusCode).toBe(401)
  })

  it('is not given without a certificate that the hub trusts', async () => {
    const who = await identity({ certificateBound: true })
    for (const client of ['none', 'of a stranger', 'expired'] as const) {
      const { status, body } = await ask(who, client)
      expect([client, status, body.error]).toEqual([client, 401, 'invalid_client'])
    }
  })

  it('is given to the pinned certificate only', async () => {
    const who = await identity({ certificateSha256: thumbprint(CLIENTS.mine) })
    expect((await ask(who, 'mine')).status).toBe(200)
    expect((await ask(who, 'other')).status).toBe(401)
  })
})

describe('a token that is bound to nothing', () => {
  it('is good on the same listener, with any certificate and with none', async () => {
    const { status, body } = await ask(await identity({}), 'none')
    expect(status).toBe(200)
    for (const client of Object.keys(CLIENTS) as Client[])
      expect(await use(body.access_token, client)).toBe(200)
  })
})
