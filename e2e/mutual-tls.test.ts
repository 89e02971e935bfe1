/** Certificate-bound tokens on the listeners of both planes, of a whole hub with TLS. */
import { writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Pem, throwAwayAuthority } from '../server/testing/self-signed.ts'
import { type HubHome, hubHome, type RunningHub, startHub } from './hub-process.ts'

const servers = throwAwayAuthority('servers')
const clients = throwAwayAuthority('clients')
const MINE = clients.issue('product')
const OTHER = clients.issue('product')
const FOREIGN = throwAwayAuthority('others').issue('product')
const EXPIRED = clients.issue('product', '230101')

interface Call {
  readonly plane: 'exec' | 'control'
  readonly path: string
  readonly token?: string
  readonly client?: Pem | undefined
  readonly method?: string
  readonly body?: string
  readonly type?: string
}

describe('a hub with TLS', () => {
  let home: HubHome
  let hub: RunningHub
  beforeAll(async () => {
    home = await hubHome()
    const file = async (name: string, text: string) => {
      const path = join(home.dataDir, name)
      await writeFile(path, text)
      return path
    }
    const { cert, key } = servers.issue('localhost')
    hub = await startHub(
      home.with({
        TLS_CERT_FILE: await file('cert.pem', cert),
        TLS_KEY_FILE: await file('key.pem', key),
        TLS_CLIENT_CA_FILE: await file('clients.pem', clients.cert),
        // By the name in the certificate.
        CONTROL_URL: home.urls.control.replace('http://127.0.0.1', 'https://localhost'),
        EXEC_URL: home.urls.exec.replace('http://127.0.0.1', 'https://localhost'),
        NODE_EXTRA_CA_CERTS: await file('servers.pem', servers.cert),
      }),
    )
  })
  afterAll(async () => {
    await hub?.stop()
    await home?.remove()
  })

  async function call({ plane, path, token, client, method = 'GET', body, type = 'application/json' }: Call) {
    const { port } = new URL(home.urls[plane])
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request(
        {
          ...{
            host: '127.0.0.1',
            port,
            servername: 'localhost',
            path,
            method,
            agent: false,
            ca: servers.cert,
          },
          ...client,
          headers: {
            ...(token !== undefined && { authorization: `Bearer ${token}` }),
            ...(body !== undefined && { 'content-type': type }),
          },
        },
        resolve,
      )
        .once('error', reject)
        .end(body)
    })
    return { status: response.statusCode, body: (await json(response)) as Record<string, unknown> }
  }

  test('accepts a certificate-bound token on both planes with its certificate only, on every route that needs a token', async () => {
    const token = hub.tokens.control
    const made = await call({
      ...{ plane: 'control', path: '/identities', token, method: 'POST' },
      body: JSON.stringify({
        name: 'svc:bound',
        scopes: ['orchestrator.jobs.read', 'orchestrator.control.read'],
        certificate_bound: true,
        reason: 'only with its certificate',
      }),
    })
    expect(made.status).toBe(201)
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: String(made.body.id),
      client_secret: String(made.body.client_secret),
    }).toString()
    for (const plane of ['exec', 'control'] as const) {
      const ask = (client: Pem | undefined) =>
        call({
          ...{ plane, path: '/oauth/token', client, method: 'POST', body: form },
          type: 'application/x-www-form-urlencoded',
        })
      expect((await ask(undefined)).status).toBe(401)
      expect((await ask(FOREIGN)).status).toBe(401)
      const bound = String((await ask(MINE)).body.access_token)
      const statusOf = async (method: string, path: string, client: Pem | undefined) =>
        (await call({ plane, path, method, token: bound, client })).status
      expect(await statusOf('GET', '/jobs', MINE)).toBe(200)

      const document = (await call({ plane, path: '/openapi.json' })).body as unknown as {
        paths: Record<string, Record<string, { security?: unknown }>>
      }
      const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
        Object.entries(methods).flatMap(([method, { security }]) =>
          security ? [{ method: method.toUpperCase(), path: path.replaceAll(/\{[^}]+\}/g, 'x') }] : [],
        ),
      )
      expect(routes.length).toBeGreaterThan(5)
      for (const { method, path } of routes)
        for (const client of [undefined, OTHER, FOREIGN, EXPIRED])
          expect([method, path, await statusOf(method, path, client)]).toEqual([method, path, 401])
    }
  })
})
