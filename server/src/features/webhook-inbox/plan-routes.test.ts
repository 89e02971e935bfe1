import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type InboxFixture, inboxFixture, SECRET } from '../../../testing/inbox-fixture.ts'
import { runAllPlans } from '../../../testing/inbox-plans.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { newId } from '../../platform/ids.ts'
import type { LaneKey } from '../../queue/job.ts'
import { webhookInboxControl } from './webhook-inbox.control.ts'

let fixture: InboxFixture
let access: TenantAccess
let app: HttpServer
let tenantId: string
let bearer: string
const hints: LaneKey[] = []

beforeAll(async () => {
  fixture = await inboxFixture()
  access = await tenantAccess(fixture)
  tenantId = await fixture.hub.workspace('plan-routes-dev')
  await fixture.hub.route(tenantId, { secret: SECRET })
  bearer = await access.bearer(tenantId)
  app = await access.server()
  webhookInboxControl(app, {
    ...{ db: fixture.platform.requestDb, wakeUp: { hint: (lanes) => void hints.push(...lanes) } },
    ...{ readPayload: fixture.hub.payloads.read, target: fixture.work.target, configVersion: async () => 3 },
    workspaces: fixture.hub.workspaces,
  })
  await app.ready()
})
afterAll(async () => {
  await access.close()
  await fixture.drop()
})

const ask = async (method: 'GET' | 'POST', url: string, payload?: object, authorization = bearer) => {
  const answer = await app.inject({ method, url, headers: { authorization }, ...(payload && { payload }) })
  return { status: answer.statusCode, body: answer.json(), location: answer.headers.location }
}
const reason = 'the product lost it'
const delivered = async (object: object = {}) => {
  const id = await fixture.receive({ object })
  await fixture.deliver(tenantId)
  return id
}

test('an event is delivered once more, and its lane is woken', async () => {
  const id = await delivered()
  hints.length = 0
  const answer = await ask('POST', `/webhook-inbox/${id}/retry`, { reason })
  expect(answer).toMatchObject({ status: 202, body: { inbox_id: id, new_message_id: true } })
  expect(answer.location).toBe(`/jobs/${answer.body.job_id}`)
  expect(hints).toMatchObject([{ tenantId, queue: 'webhook', lane: 7 }])
  expect((await ask('GET', `/webhook-inbox/${id}`)).body).toMatchObject({
    ...{ status: 'queued', job_ids: [answer.body.job_id], waits: [], payload_ref: null, erased_at: null },
    ...{ source: 'received', secret_fingerprint: expect.any(String) },
  })
  expect((await ask('POST', `/webhook-inbox/${id}/retry`, { reason })).body).toMatchObject({
    status: 409,
    detail: expect.stringContaining('goes on by itself'),
  })
  await fixture.deliver(tenantId)
})

test('a timeline tells receipt, deliveries and attempts, page by page', async () => {
  const id = await delivered()
  const types: string[] = []
  let cursor = ''
  do {
    const { body } = await ask('GET', `/webhook-inbox/${id}/timeline?limit=2${cursor && `&cursor=${cursor}`}`)
    types.push(...body.data.map(({ type }: { type: string }) => type))
    cursor = body.next_cursor ?? ''
  } while (cursor)
  expect(types).toEqual(['webhook.received', 'job.queued', 'attempt', 'job.succeeded'])
  const missing = await ask('GET', `/webhook-inbox/${newId()}/timeline`)
  expect(missing).toMatchObject({ status: 404, body: { code: 'not_found' } })
})

test('two payloads are compared, of this workspace only, also large ones', async () => {
  const text = 'x'.repeat(200_000)
  const [left, right] = [await delivered({ amount: 1, text }), await delivered({ amount: 2, text })]
  const { body } = await ask('GET', `/webhook-inbox/compare?left=${left}&right=${right}`)
  expect(body).toMatchObject({ compared: 'json', equal: false, bytes_equal: false, cut: false })
  expect(body.differences).toContainEqual({
    path: '/data/object/amount',
    kind: 'changed',
    left: '1',
    right: '2',
  })
  expect((await ask('GET', `/webhook-inbox/${left}`)).body).toMatchObject({
    payload: null,
    payload_ref: { id: expect.any(String), size: expect.any(Number), content_type: 'application/json' },
  })
  const stranger = await access.bearer(await fixture.hub.workspace('stranger-dev'))
  expect(
    await ask('GET', `/webhook-inbox/compare?left=${left}&right=${right}`, undefined, stranger),
  ).toMatchObject({ status: 404 })
})

describe('plans', () => {
  test('go from the search over the commit to their end', async () => {
    const ids = [await delivered(), await delivered()]
    const made = await ask('POST', '/webhook-inbox/retry/plans', { ids, rate_per_second: 100 })
    expect(made).toMatchObject({
      status: 201,
      body: { state: 'searching', action: 'retry', count: 0, rate_per_second: 100, config_version: 3 },
    })
    const url = `/webhook-inbox/retry/plans/${made.body.plan_id}`
    expect(made.location).toBe(url)
    expect((await ask('POST', `${url}/commit`, { reason })).status).toBe(409)
    await runAllPlans(fixture.work)
    expect((await ask('GET', url)).body).toMatchObject({
      ...{ state: 'planned', count: 2, estimate_seconds: 1, ids, expires_at: expect.any(String) },
      sample: [{ inbox_id: ids[0], status: 'done' }, { inbox_id: ids[1] }],
    })
    expect((await ask('POST', `${url}/commit`, { reason })).body).toMatchObject({ state: 'running', reason })
    await runAllPlans(fixture.work)
    expect((await ask('GET', url)).body).toMatchObject({
      state: 'done',
      progress: { total: 2, done: 2, skipped: 0 },
      estimate_seconds: 0,
    })
    const { body: list } = await ask('GET', '/webhook-inbox/retry/plans?state=done')
    expect(list.data.map(({ plan_id }: { plan_id: string }) => plan_id)).toEqual([made.body.plan_id])
  })

  test('never show whom an erasure is about', async () => {
    await delivered({ customer: 'cus_secret' })
    const subject = { pointer: '/data/object/customer', equals: 'cus_secret' }
    const made = await ask('POST', '/webhook-inbox/erase/plans', { subject })
    const url = `/webhook-inbox/erase/plans/${made.body.plan_id}`
    await runAllPlans(fixture.work)
    const { body } = await ask('GET', url)
    expect(body).toMatchObject({ count: 1, subject: { pointer: '/data/object/customer' } })
    expect(JSON.stringify([made.body, body])).not.toContain('cus_secret')
    expect((await ask('POST', `${url}/abort`, { reason })).body).toMatchObject({
      state: 'aborted',
      ended_why: reason,
    })
  })

  test.each([
    ['both', { ids: [newId()], filter: { statuses: ['done'] } }, '/body'],
    ['neither', {}, '/body'],
    ['no state', { filter: {} }, '/body/filter/statuses'],
    ['a state that goes on by itself', { filter: { statuses: ['queued'] } }, '/body/filter/statuses/0'],
    [
      'a moment that is none',
      { filter: { statuses: ['done'], received_after: '2015-12-31T23:59:60Z' } },
      '/body/filter/received_after',
    ],
  ])('of %s are refused', async (_name, body, path) => {
    const answer = await ask('POST', '/webhook-inbox/retry/plans', body)
    expect(answer).toMatchObject({ status: 400, body: { code: 'validation_error' } })
    expect(answer.body.details.map((detail: { path: string }) => detail.path)).toContain(path)
  })

  test.each([
    [{}, '/body'],
    [{ event_id: 'evt_1', subject: { contains: 'abc' } }, '/body'],
    [{ subject: { pointer: '/a' } }, '/body/subject'],
    [{ subject: { pointer: 'a', equals: 'x' } }, '/body/subject/pointer'],
    [{ subject: { contains: 'ab' } }, '/body/subject/contains'],
  ])('to erase %j are refused', async (body, path) => {
    const answer = await ask('POST', '/webhook-inbox/erase/plans', body)
    expect(answer).toMatchObject({ status: 400 })
    expect(answer.body.details.map((detail: { path: string }) => detail.path)).toContain(path)
  })
})

test('who may only read can plan nothing; support retries and does not erase', async () => {
  const id = await delivered()
  const read = await access.bearer(tenantId, { scopes: ['orchestrator.control.read'] })
  const support = await access.bearer(tenantId, { scopes: [], roles: ['support'], subject: 'operator:sue' })
  const statusOf = async (authorization: string, url: string, body: object) =>
    (await ask('POST', url, body, authorization)).status
  expect(await statusOf(read, '/webhook-inbox/retry/plans', { ids: [id] })).toBe(403)
  expect(await statusOf(read, `/webhook-inbox/${id}/retry`, { reason })).toBe(403)
  expect(await statusOf(support, '/webhook-inbox/retry/plans', { ids: [id] })).toBe(201)
  expect(await statusOf(support, '/webhook-inbox/erase/plans', { event_id: 'evt_1' })).toBe(403)
})
