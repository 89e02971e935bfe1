import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshRoute, takeEvents } from '../../../../testing/held-deliveries.ts'
import { type QueueFixture, queueFixture } from '../../../../testing/queue-fixture.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import type { Queryable } from '../../../platform/db/statement.ts'
import { newId } from '../../../platform/ids.ts'
import { Problem } from '../../../problems.ts'
import { createDeliveryInput, type JobWithInput } from './delivery-input.ts'

let database: QueueFixture
let hub: WebhookHub
/** Statements that went through `counted`. */
let statements = 0
let counted: Queryable

beforeAll(async () => {
  database = await queueFixture()
  hub = webhookHub(database.platform)
  counted = {
    execute: (statement, values) => {
      statements += 1
      return database.db.execute(statement, values)
    },
  }
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})

const stored = async (tenantId: string): Promise<JobWithInput[]> => {
  const rows = await hub.query<{ inbox_id: string; input: unknown; input_ref: JobWithInput['inputRef'] }>(
    `select j.inbox_id, p.input, p.input_ref from job j
     join job_payload p on p.tenant_id = j.tenant_id and p.job_id = j.id where j.tenant_id = $1 order by j.id`,
    [tenantId],
  )
  return rows.map(({ inbox_id, input, input_ref }) => ({
    tenantId,
    inboxId: inbox_id,
    input,
    inputRef: input_ref,
  }))
}

const reader = (db: Queryable = database.db, together = true) =>
  createDeliveryInput({ db, together, readPayload: (tenantId, id) => hub.payloads.read(tenantId, id) })

const codeOf = async (reading: Promise<unknown>) => {
  const error = await reading.catch((reason: unknown) => reason)
  return error instanceof Problem ? error.code : error
}

/** One delivery of a workspace of its own. */
async function delivery(): Promise<JobWithInput> {
  const route = await freshRoute(hub)
  await takeEvents(hub, route, 1)
  const [job] = await stored(route.tenantId)
  if (!job) throw new Error('no job')
  return job
}

test('the job has the envelope only; what the provider sent is put in, as the provider reads it', async () => {
  const job = await delivery()
  const envelope = {
    type: 'stripe.invoice.paid',
    timestamp: '2023-11-14T22:13:20.000Z',
    data: {
      ...{ provider: 'stripe', account: null, livemode: false },
      ...{ event_id: expect.stringMatching(/^evt_/), inbox_id: job.inboxId },
    },
  }
  expect(job.input).toEqual(envelope)
  expect(await reader()(job)).toEqual({
    ...envelope,
    data: { ...envelope.data, payload: { id: 'evt', amount: 500 } },
  })
})

test('numbers that JavaScript rounds are delivered as they were sent', async () => {
  const job = await delivery()
  const read = async (body: string) => {
    await hub.query('update webhook_payload set body = $2 where id = $1', [job.inboxId, Buffer.from(body)])
    const input = (await reader()(job)) as { data: { payload: unknown } }
    return JSON.stringify(input.data.payload)
  }
  expect(await read('{"n":12345678901234567890,"f":1.5}')).toBe('{"n":12345678901234567890,"f":1.5}')
  // Of two members with the same name the last one is delivered.
  expect(await read('{"a":1,"a":2}')).toBe('{"a":2}')
})

test('deliveries of several workspaces that run together are read together, each with its own payload', async () => {
  const jobs = await Promise.all(Array.from({ length: 8 }, delivery))
  for (const [at, job] of jobs.entries())
    await hub.query('update webhook_payload set body = $2 where id = $1', [
      job.inboxId,
      Buffer.from(`{"n":${at}}`),
    ])
  statements = 0
  const read = reader(counted)
  const inputs = (await Promise.all(jobs.map((job) => read(job)))) as { data: { payload: unknown } }[]
  expect(inputs.map(({ data }) => data.payload)).toEqual(jobs.map((_, n) => ({ n })))
  expect(statements).toBe(1)
})

test('where only one workspace can be seen each is read for itself', async () => {
  const jobs = [await delivery(), await delivery()]
  statements = 0
  const read = reader(counted, false)
  await Promise.all(jobs.map((job) => read(job)))
  expect(statements).toBe(2)
})

test('nothing of another workspace is ever read, even under the id of its event', async () => {
  const job = await delivery()
  expect(await codeOf(reader()({ ...job, tenantId: newId() }))).toBe('payload_gone')
})

test('a large body comes out of the payload store', async () => {
  const job = await delivery()
  const bytes = Buffer.from(JSON.stringify({ text: 'x'.repeat(100_000) }))
  const kept = await hub.payloads.keep(job.tenantId, bytes, 'application/json')
  if (!kept || job.inboxId === null) throw new Error('it was not large enough')
  const owner = { kind: 'webhook', id: job.inboxId } as const
  await database.db.transaction((tx) => hub.payloads.record(tx, [{ payload: kept, owner }]))
  await hub.query('update webhook_payload set body = null, payload_id = $2 where id = $1', [
    job.inboxId,
    kept.id,
  ])
  expect(await reader()(job)).toMatchObject({ data: { payload: { text: 'x'.repeat(100_000) } } })
})

test('erased, gone and too large are told apart', async () => {
  const [erased, gone, large] = [await delivery(), await delivery(), await delivery()]
  await hub.query('update webhook_payload set body = null, erased_at = now() where id = $1', [erased.inboxId])
  await hub.query('delete from webhook_payload where id = $1', [gone.inboxId])
  expect(await codeOf(reader()(erased))).toBe('payload_erased')
  expect(await codeOf(reader()(gone))).toBe('payload_gone')
  expect(await codeOf(reader()(large, 10))).toBe('body_too_large')
  expect(await reader()(large, 25)).toMatchObject({ data: { payload: { amount: 500 } } })
})
