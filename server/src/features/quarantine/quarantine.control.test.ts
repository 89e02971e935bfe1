import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type QuarantineHub, quarantineHub } from '../../../testing/quarantine-hub.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { stripe } from '../../../testing/webhook-samples/stripe.ts'
import type { HttpServer } from '../../platform/http/server.ts'
import { newId } from '../../platform/ids.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { quarantineControl } from './quarantine.control.ts'

const RIGHT = 'whsec_right'
const WRONG = 'whsec_wrong'
const ALL_KEPT = 'every request that was sent is in quarantine'

let database: TestDatabase
let access: TenantAccess
let hub: QuarantineHub
let app: HttpServer
let a: string
let b: string
let ofA: WebhookRoute
let bearer: Readonly<Record<'a' | 'b' | 'reader' | 'platform' | 'auditor', string>>

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  hub = quarantineHub(database.platform, { perSecond: 1_000 })
  a = await hub.workspace('a-dev')
  b = await hub.workspace('b-dev')
  ofA = await hub.route(a, { secret: WRONG })
  app = await access.server()
  quarantineControl(app, { ...hub.deps, db: database.platform.requestDb, hubDb: database.platform.db })
  await app.ready()
  const person = (tenantId: string, role: string) => access.bearer(tenantId, { scopes: [], roles: [role] })
  bearer = {
    ...{ a: await access.bearer(a), b: await access.bearer(b), reader: await person(a, 'read_only') },
    platform: await person(NO_WORKSPACE, 'platform_admin'),
    auditor: await person(NO_WORKSPACE, 'platform_auditor'),
  }
})
afterAll(async () => {
  await hub.close()
  await access.close()
  await database.drop()
})
beforeEach(async () => {
  await hub.query('delete from quarantine')
  setSecret(WRONG)
})

const setSecret = (value: string) => hub.secrets.set(`${a}/${ofA.secretRefs[0]}`, value)
const newEvent = () => ({ id: `evt_${newId()}` })
async function refused(sent: Partial<Parameters<QuarantineHub['send']>[0]> = {}): Promise<string> {
  const before = (await hub.rows()).length
  await hub.send({ ...newEvent(), secret: RIGHT, routeId: ofA.id, ...sent })
  const rows = await hub.rows()
  expect(rows.length, ALL_KEPT).toBe(before + 1)
  return rows.at(-1)?.id ?? ''
}
const get = (url: string, who: keyof typeof bearer = 'a') =>
  app.inject({ method: 'GET', url, headers: { authorization: bearer[who] } })
const post = (url: string, payload: object = {}, who: keyof typeof bearer = 'a') =>
  app.inject({
    ...{ method: 'POST', url, headers: { authorization: bearer[who] } },
    payload: { reason: 'a test', ...payload },
  })

describe('the list', () => {
  test('is newest first, in pages, and by what was asked for', async () => {
    const ids = [await refused(), await refused(), await refused()]
    const first = (await get('/quarantine?limit=2')).json()
    expect(first.data.map(({ id }: { id: string }) => id)).toEqual([ids[2], ids[1]])
    const second = (await get(`/quarantine?limit=2&cursor=${first.next_cursor}`)).json()
    expect(second).toMatchObject({ data: [{ id: ids[0] }], next_cursor: null })
    const counts = {
      'provider=stripe': 3,
      'provider=github': 0,
      'reason=signature_mismatch': 3,
      'reason=unknown_account': 0,
      'state=kept': 3,
      'state=released': 0,
      'state=expired': 0,
      [`route_id=${ofA.id}`]: 3,
      [`route_id=${newId()}`]: 0,
      'from=2020-01-01T00:00:00Z': 3,
      'to=2020-01-01T00:00:00Z': 0,
    }
    for (const [query, count] of Object.entries(counts))
      expect((await get(`/quarantine?${query}`)).json().data, query).toHaveLength(count)
    await hub.query(`update quarantine set expires_at = now() - interval '1 second' where id = $1`, [ids[0]])
    expect((await get('/quarantine?state=expired')).json().data).toMatchObject([
      { id: ids[0], state: 'expired' },
    ])
  })

  test('has what is known without the payload', async () => {
    const event = newEvent()
    await refused(event)
    const [entry] = (await get('/quarantine', 'reader')).json().data
    expect(entry).toMatchObject({
      ...{ state: 'kept', provider: 'stripe', path: `POST /webhooks/stripe/${ofA.id}`, route_id: ofA.id },
      ...{ reason: 'signature_mismatch', authentic: false, contents: 'shown', seen: 1, released_to: [] },
      events: [
        { ...event, type: 'invoice.paid', accounts: [], livemode: false, reason: 'signature_mismatch' },
      ],
      ...{ event_count: 1, size: stripe.body(event).length, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
    })
    expect(entry).not.toHaveProperty('payload')
  })
})

describe('one of it', () => {
  test('has the bytes as they came, as a JSON string whatever is in them', async () => {
    const attack = { id: 'evt_xss', object: 'event', type: 'a.b', created: 1, livemode: false }
    const body = Buffer.from(JSON.stringify({ ...attack, name: '</script><img src=x onerror=alert(1)>' }))
    const id = await refused({ body })
    const answer = await get(`/quarantine/${id}`)
    expect(answer.headers['content-type']).toMatch(/^application\/json/)
    expect(answer.headers['x-content-type-options']).toBe('nosniff')
    expect(answer.json()).toMatchObject({
      ...{ payload: body.toString('utf8'), payload_encoding: 'utf-8' },
      copies: [{ headers: { 'stripe-signature': [expect.stringMatching(/^t=\d+,v1=/)] } }],
    })
  })

  test('has bytes that are no text in base64', async () => {
    const id = await refused()
    const bytes = Buffer.from([0xff, 0x00, 0xfe])
    await hub.query('update quarantine set body = $1', [bytes])
    expect((await get(`/quarantine/${id}`)).json()).toMatchObject({
      ...{ payload: bytes.toString('base64'), payload_encoding: 'base64' },
    })
  })

  test('of an account that is only claimed is withheld: nothing that was sent to it is shown', async () => {
    await hub.route(a, { secret: WRONG, account: 'acct_victim' })
    const event = { ...newEvent(), account: 'acct_victim', routeId: undefined }
    const id = await refused(event)
    for (const url of ['/quarantine', `/quarantine/${id}`]) {
      const { body } = await get(url)
      for (const secret of [event.id, 'invoice.paid', 'stripe-signature', 'Käse'])
        expect(body, url).not.toContain(secret)
    }
    expect((await get(`/quarantine/${id}`)).json()).toMatchObject({
      ...{
        contents: 'withheld',
        accounts: ['acct_victim'],
        events: [],
        sha256: null,
        copies: [],
        payload: null,
      },
    })
  })

  test("of another workspace and none at all are the same answer, and so is the platform's", async () => {
    const id = await refused()
    const ofNobody = await refused({ routeId: undefined, secret: 'whsec_of_nobody' })
    const texts = async (answers: Promise<{ statusCode: number; body: string }>[]) =>
      (await Promise.all(answers)).map(({ statusCode, body }) => {
        const { request_id, trace_id, instance, ...rest } = JSON.parse(body)
        return JSON.stringify({ statusCode, rest })
      })
    for (const ask of [
      (key: string) => get(`/quarantine/${key}`, 'b'),
      (key: string) => post(`/quarantine/${key}/verify`, {}, 'b'),
      (key: string) => post(`/quarantine/${key}/discard`, {}, 'b'),
    ]) {
      const [one, ...others] = await texts([ask(newId()), ask(id), ask(ofNobody)])
      expect(one).toContain('404')
      for (const other of others) expect(other).toBe(one)
    }
    expect((await get(`/platform/quarantine/${id}`, 'platform')).statusCode).toBe(404)
    expect((await get('/quarantine', 'b')).json().data).toEqual([])
  })
})

describe('what can be done', () => {
  test('verify: still refused, then released, then a conflict that says where it went', async () => {
    const id = await refused()
    expect((await post(`/quarantine/${id}/verify`)).json()).toEqual({
      ...{ released: false, reason: 'signature_mismatch', judged_at: 'receipt', released_to: [] },
    })
    setSecret(RIGHT)
    const released = (await post(`/quarantine/${id}/verify`)).json()
    expect(released).toMatchObject({ released: true, reason: null, released_to: [{ route_id: ofA.id }] })
    expect(released.released_to[0]).not.toHaveProperty('workspace_id')
    const again = await post(`/quarantine/${id}/verify`)
    expect(again.statusCode).toBe(409)
    expect(again.json()).toMatchObject({
      code: 'conflict',
      state: 'released',
      released_to: released.released_to,
    })
    expect((await get(`/quarantine/${id}`)).json()).toMatchObject({
      ...{ state: 'released', contents: 'gone', payload: null, released_to: released.released_to },
      ...{ ended_by: 'svc:test', ended_reason: 'a test' },
    })
  })

  test('verify many, by filter and in steps', async () => {
    for (let count = 0; count < 3; count += 1) await refused()
    setSecret(RIGHT)
    const first = (await post('/quarantine/verify', { refused_for: 'signature_mismatch', limit: 2 })).json()
    expect(first).toMatchObject({ examined: 2, released: 2, refused: {}, next_cursor: expect.any(String) })
    const cursor = first.next_cursor
    expect((await post('/quarantine/verify', { limit: 2, cursor })).json()).toMatchObject({
      ...{ examined: 1, released: 1, next_cursor: null },
    })
    expect((await post('/quarantine/verify', { cursor: 'x' })).json()).toMatchObject({
      ...{ code: 'validation_error', details: [{ path: '/body/cursor' }] },
    })
  })

  test('discard', async () => {
    const id = await refused()
    expect((await post(`/quarantine/${id}/discard`)).statusCode).toBe(204)
    expect((await get(`/quarantine/${id}`)).json()).toMatchObject({ state: 'discarded', contents: 'gone' })
  })

  test('discard many, by filter; of the platform only what is nobody’s', async () => {
    const ids = [await refused(), await refused()]
    const ofNobody = await refused({ routeId: undefined, secret: 'whsec_of_nobody' })
    expect((await post('/quarantine/discard', { refused_for: 'unknown_account' })).json()).toEqual({
      discarded: 0,
    })
    expect((await post('/quarantine/discard', { provider: 'stripe', limit: 1 })).json()).toEqual({
      discarded: 1,
    })
    expect((await get(`/quarantine/${ids[0]}`)).json()).toMatchObject({
      ...{ state: 'discarded', contents: 'gone', ended_by: 'svc:test', ended_reason: 'a test' },
    })
    expect((await post('/platform/quarantine/discard', {}, 'platform')).json()).toEqual({ discarded: 1 })
    expect((await get(`/platform/quarantine/${ofNobody}`, 'auditor')).json()).toMatchObject({
      state: 'discarded',
    })
    expect((await get(`/quarantine/${ids[1]}`)).json()).toMatchObject({ state: 'kept' })
    for (const [url, who] of [
      ['/quarantine/discard', 'reader'],
      ['/platform/quarantine/discard', 'auditor'],
      ['/platform/quarantine/discard', 'a'],
    ] as const)
      expect((await post(url, {}, who)).statusCode, url).toBe(403)
  })

  test('not by whoever may only look', async () => {
    const id = await refused()
    for (const url of [`/quarantine/${id}/verify`, `/quarantine/${id}/discard`, '/quarantine/verify'])
      expect((await post(url, {}, 'reader')).statusCode, url).toBe(403)
  })

  test('assign: only by a platform admin, and the platform sees where it went', async () => {
    const id = await refused({ routeId: undefined, secret: 'whsec_of_nobody' })
    const where = { workspace_id: a, route_id: ofA.id }
    const url = `/platform/quarantine/${id}/assign`
    for (const who of ['a', 'auditor'] as const)
      expect((await post(url, where, who)).statusCode, who).toBe(403)
    expect((await get(`/platform/quarantine/${id}`, 'auditor')).json()).toMatchObject({ contents: 'shown' })
    const other = { workspace_id: b, route_id: ofA.id }
    expect((await post(url, other, 'platform')).statusCode).toBe(404)
    const assigned = await post(url, where, 'platform')
    expect(assigned.json()).toMatchObject({ released_to: [{ ...where, duplicate: false }] })
    expect((await post(url, where, 'platform')).json()).toMatchObject({ code: 'conflict', state: 'released' })
    expect((await get('/platform/quarantine', 'auditor')).json()).toMatchObject({
      data: [{ id, state: 'released' }],
    })
  })

  test('what has no reason is refused', async () => {
    const id = await refused()
    for (const url of [
      `/quarantine/${id}/verify`,
      `/quarantine/${id}/discard`,
      '/quarantine/verify',
      '/quarantine/discard',
    ])
      expect((await post(url, { reason: ' ' })).statusCode, url).toBe(400)
  })
})
