import { createHash, randomBytes } from 'node:crypto'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type TestPayloads, testPayloads } from '../../../testing/payload-store.ts'
import { HAS_S3, S3_KEYS, S3_REGION, type S3Server, startS3 } from '../../../testing/s3-server.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { systemClock } from '../../platform/clock.ts'
import type { HttpServer } from '../../platform/http/server.ts'
import { newId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { createS3Store } from '../../platform/storage/s3-store.ts'
import { payloadsControl } from './payloads.control.ts'
import { payloadsExec } from './payloads.exec.ts'
import type { Payloads } from './payloads.ts'

let database: TestDatabase
let on: TestPayloads
let control: TenantAccess
let exec: TenantAccess
type Ask = <Body = Record<string, unknown>>(
  method: 'GET',
  url: string,
  authorization: string,
  call?: { headers: Record<string, string> },
) => Promise<{ status: number; headers: Record<string, unknown>; bytes: Buffer; body: Body }>
let ask: { control: Ask; exec: Ask }
let tenantId: string
let otherId: string
let now = Date.now()
const clock = { ...systemClock, now: () => now }

async function serve(payloads: Payloads): Promise<typeof ask> {
  const { requestDb: db } = database.platform
  const [first, second] = [await control.server({ plane: 'control' }), await exec.server({ plane: 'exec' })]
  payloadsControl(first, { ...control, db, clock, payloads })
  payloadsExec(second, { payloads })
  await first.ready()
  await second.ready()
  const asking =
    (app: HttpServer): Ask =>
    async (method, url, authorization, { headers = {} } = { headers: {} }) => {
      const {
        statusCode,
        headers: given,
        rawPayload: bytes,
      } = await app.inject({
        ...{ method, url },
        headers: { ...(authorization !== '' && { authorization }), ...headers },
      })
      const isJson = String(given['content-type']).includes('json')
      return { status: statusCode, headers: given, bytes, body: isJson ? JSON.parse(bytes.toString()) : {} }
    }
  return { control: asking(first), exec: asking(second) }
}

beforeAll(async () => {
  database = await testDatabase()
  // As the planes have it: what is read is read as a request of the caller's workspace.
  on = testPayloads(database.platform, { readDb: database.platform.requestDb })
  control = await tenantAccess(database, { audience: 'orchestrator-control' })
  exec = await tenantAccess(database, { audience: 'orchestrator-exec' })
  tenantId = (await control.workspace('shop-dev')).id
  otherId = (await control.workspace('other-dev')).id
  ask = await serve(on.payloads)
})
beforeEach(() => {
  now = Date.now()
})
afterAll(async () => {
  await control.close()
  await exec.close()
  await on.remove()
  await database.drop()
})

const BYTES = randomBytes(5_000)
const query = async <Row extends object>(text: string, values: readonly unknown[] = []) =>
  (await database.db.execute<Row & Record<string, unknown>>({ name: '', text }, values)).rows

async function kept(payloads = on.payloads, tenant = tenantId): Promise<string> {
  const payload = await payloads.keep(tenant, BYTES, 'text/html')
  if (!payload) throw new Error('it is small enough')
  const owner = { kind: 'webhook', id: newId() } as const
  await database.db.transaction((tx) => payloads.record(tx, [{ payload, owner }]))
  return payload.id
}
const reader = (scopes = ['orchestrator.control.read'], tenant = tenantId) =>
  control.bearer(tenant, { scopes })
const product = (scopes = ['orchestrator.jobs.read'], tenant = tenantId) => exec.bearer(tenant, { scopes })

describe('on control', () => {
  test('what it is, without the bytes', async () => {
    const id = await kept()
    const { status, body } = await ask.control('GET', `/payloads/${id}`, await reader())
    expect([status, body]).toEqual([
      200,
      {
        ...{ id, size: 5_000, content_type: 'text/html', store: 'disk', encrypted: false, spooled: false },
        sha256: createHash('sha256').update(BYTES).digest('hex'),
        owner: { kind: 'webhook', id: expect.any(String) },
        created_at: expect.stringMatching(/Z$/),
      },
    ])
  })

  test('a link without a token, told by an event and by no audit entry', async () => {
    const id = await kept()
    const before = await query('select from audit_entry')
    const { body } = await ask.control<{ url: string; expires_at: string }>(
      'GET',
      `/payloads/${id}/download`,
      await reader(),
    )
    expect(new Date(body.expires_at).getTime()).toBe(now + 300_000)
    const answer = await ask.control('GET', body.url, '')
    expect(answer).toMatchObject({
      status: 200,
      headers: {
        'content-type': 'application/octet-stream',
        'content-disposition': `attachment; filename="payload-${id}.bin"`,
        'x-content-type-options': 'nosniff',
        'cache-control': 'private, no-store',
      },
    })
    expect(answer.bytes).toEqual(BYTES)
    expect(await query('select from audit_entry')).toHaveLength(before.length)
    expect(
      await query(
        `select tenant_id, data ->> 'payload_id' as id from event where type = 'payload.download_link'`,
      ),
    ).toEqual([{ tenant_id: tenantId, id }])
  })

  test('a link ends after five minutes, and changed or of another kind it opens nothing', async () => {
    const [id, second] = [await kept(), await kept()]
    const token = await reader()
    const link = async (of: string) =>
      (await ask.control<{ url: string }>('GET', `/payloads/${of}/download`, token)).body.url
    const url = await link(id)
    const missing = await ask.control('GET', '/payloads/link?key=x', '', {
      headers: { 'x-request-id': 'same' },
    })
    expect(missing.status).toBe(404)
    const [head, , signature] = (url.split('=')[1] ?? '').split('.')
    const [, otherBody] = ((await link(second)).split('=')[1] ?? '').split('.')
    for (const wrong of [
      `/payloads/link?key=${head}.${otherBody}.${signature}`,
      `/payloads/link?key=${token.slice('Bearer '.length)}`,
      url.slice(0, -3),
    ]) {
      const answer = await ask.control('GET', wrong, '', { headers: { 'x-request-id': 'same' } })
      expect([answer.status, { ...answer.body, trace_id: '' }]).toEqual([
        404,
        { ...missing.body, trace_id: '' },
      ])
    }
    // Nor is a link a token.
    const asToken = `Bearer ${url.split('=')[1]}`
    expect((await ask.control('GET', `/payloads/${id}`, asToken)).status).toBe(401)
    now += 299_000
    expect((await ask.control('GET', url, '')).status).toBe(200)
    now += 2_000
    expect((await ask.control('GET', url, '')).status).toBe(404)
  })

  test.each(['', '/download'])('another workspace’s answers %s as one that is not there', async (end) => {
    const id = await kept(on.payloads, otherId)
    const token = await reader()
    const headers = { 'x-request-id': 'same' }
    const [foreign, missing] = [
      await ask.control('GET', `/payloads/${id}${end}`, token, { headers }),
      await ask.control('GET', `/payloads/${newId()}${end}`, token, { headers }),
    ]
    expect(foreign.status).toBe(404)
    expect({ ...foreign.body, trace_id: '' }).toEqual({ ...missing.body, trace_id: '' })
    for (const odd of ['..%2f..%2fetc%2fpasswd', '%2e%2e', 'x', `${id}%00`, `${tenantId}%2f${id}`])
      expect([400, 404], odd).toContain((await ask.control('GET', `/payloads/${odd}${end}`, token)).status)
  })

  test('without the permission nothing is told', async () => {
    const id = await kept()
    const token = await reader(['orchestrator.control.write'])
    for (const end of ['', '/download'])
      expect((await ask.control('GET', `/payloads/${id}${end}`, token)).status).toBe(403)
  })
})

describe('on exec', () => {
  test('the bytes themselves, for a token that may read jobs', async () => {
    const id = await kept()
    const answer = await ask.exec('GET', `/payloads/${id}`, await product())
    expect([answer.status, answer.bytes]).toEqual([200, BYTES])
    const digest = createHash('sha256').update(BYTES).digest('base64')
    expect(answer.headers).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-disposition': expect.stringContaining('attachment'),
      'repr-digest': `sha-256=:${digest}:`,
    })
    expect((await ask.exec('GET', `/payloads/${id}`, await product(['orchestrator.execute']))).status).toBe(
      403,
    )
    const foreign = await ask.exec('GET', `/payloads/${id}`, await product(undefined, otherId))
    expect(foreign).toMatchObject({ status: 404, body: { code: 'not_found' } })
  })
})

describe.runIf(HAS_S3)('with S3', () => {
  let server: S3Server
  let s3: TestPayloads
  beforeAll(async () => {
    server = await startS3()
    const admin = new S3Client({
      ...{ endpoint: server.endpoint, region: S3_REGION, forcePathStyle: true },
      credentials: { accessKeyId: S3_KEYS.access_key_id, secretAccessKey: S3_KEYS.secret_access_key },
    })
    await admin.send(new CreateBucketCommand({ Bucket: 'payloads' }))
    admin.destroy()
    const store = createS3Store({
      ...{ endpoint: server.endpoint, bucket: 'payloads', region: S3_REGION },
      credentials: async () => ({
        accessKeyId: new Secret(S3_KEYS.access_key_id),
        secretAccessKey: new Secret(S3_KEYS.secret_access_key),
      }),
    })
    s3 = testPayloads(database.platform, {
      stores: { current: 's3', byName: new Map([['s3', store]]) },
      readDb: database.platform.requestDb,
    })
    ask = await serve(s3.payloads)
  })
  afterAll(async () => {
    await s3?.remove()
    await server?.stop()
  })

  test('the link is the store’s own, for five minutes, and reads these bytes alone', async () => {
    const id = await kept(s3.payloads)
    const { body } = await ask.control<{ url: string }>('GET', `/payloads/${id}/download`, await reader())
    const url = new URL(body.url)
    expect(url.origin).toBe(server.endpoint)
    expect(url.searchParams.get('X-Amz-Expires')).toBe('300')
    const answer = await fetch(url)
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(BYTES)
    expect(answer.headers.get('content-disposition')).toContain('attachment')
  })

  test('what the store has encrypted, or not yet, is served by control', async () => {
    const id = await kept(s3.with({ encrypt: true }))
    const { body } = await ask.control<{ url: string }>('GET', `/payloads/${id}/download`, await reader())
    expect(body.url).toMatch(/^\/payloads\/link\?key=/)
    expect((await ask.control('GET', body.url, '')).status).toBe(200)
  })
})
