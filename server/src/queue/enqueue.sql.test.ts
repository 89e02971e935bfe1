import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  eventsOf,
  hashOf,
  misplacedJobs,
  type QueueFixture,
  queueFixture,
  sampleJob,
  whereIs,
} from '../../testing/queue-fixture.ts'
import { many } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { enqueueJobs } from './enqueue.ts'
import type { NewJob } from './job.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterAll(() => fixture.drop())

const idsOf = many<{ readonly tenantId: string }, { readonly id: string }>(
  'test.ids_of',
  'select id from job where tenant_id = $1 order by id',
  ({ tenantId }) => [tenantId],
)
const keysOf = many<{ readonly tenantId: string }, { readonly key: string; readonly job_id: string }>(
  'test.keys_of',
  'select key, job_id from idem where tenant_id = $1 order by key',
  ({ tenantId }) => [tenantId],
)
const payloadText = many<
  { readonly id: string },
  { readonly input: string; readonly metadata: string; readonly completion: string | null }
>(
  'test.payload_text',
  `select input::text, metadata::text, completion::text from job_payload where job_id = $1`,
  ({ id }) => [id],
)
const keyed = (tenantId: string, key: string, request: string, job: Partial<NewJob> = {}): NewJob =>
  sampleJob({ tenantId, ...job, dedupe: { key, requestHash: hashOf(request) } })

describe('enqueueJobs', () => {
  test('stores a batch in its order: ready now, deferred for later, one event each', async () => {
    const tenantId = newId()
    const later = new Date(Date.now() + 3_600_000)
    const jobs = [
      sampleJob({ tenantId }),
      sampleJob({ tenantId, runAt: later }),
      sampleJob({ tenantId, runAt: new Date(0) }),
    ]
    const [first, second, third] = await enqueueJobs(fixture.db, jobs)
    expect([first?.id, second?.id, third?.id]).toEqual(jobs.map(({ id }) => id))
    expect(first).toMatchObject({ replayed: false, queuedAt: expect.any(Date) })

    const places = await Promise.all(jobs.map(({ id }) => whereIs(fixture.db, { tenantId, id })))
    expect(places.map(({ ready, deferred }) => [ready, deferred])).toEqual([
      [1, 0],
      [0, 1],
      [1, 0],
    ])
    const events = await Promise.all(jobs.map(({ id }) => eventsOf(fixture.db, { id })))
    expect(events.map((list) => list.map(({ type }) => type))).toEqual([
      ['job.queued'],
      ['job.scheduled'],
      ['job.queued'],
    ])
  })

  test('keeps payloads byte by byte: key order, number texts of the serializer, NUL and lone surrogates', async () => {
    const tenantId = newId()
    const input = { z: 1e21, a: 'nul \0 lone \ud800 end', nested: { y: [1, null], x: 'ü' } }
    const completion = { event: { type: 'crm.done', data: { b: 1, a: 2 } } }
    const job = sampleJob({ tenantId, input, metadata: { note: '\0' }, completion })
    await enqueueJobs(fixture.db, [job])
    expect(await payloadText(fixture.db, { id: job.id })).toEqual([
      {
        input: JSON.stringify(input),
        metadata: JSON.stringify({ note: '\0' }),
        completion: JSON.stringify(completion),
      },
    ])
  })

  test('commits and rolls back with the transaction of its caller', async () => {
    const tenantId = newId()
    const failed = fixture.db.transaction(async (tx) => {
      await enqueueJobs(tx, [keyed(tenantId, 'k', 'r')])
      throw new Error('the caller fails')
    })
    await expect(failed).rejects.toThrow('the caller fails')
    expect(await idsOf(fixture.db, { tenantId })).toEqual([])
    expect(await keysOf(fixture.db, { tenantId })).toEqual([])
  })

  test('answers a used key with the first job and stores nothing', async () => {
    const tenantId = newId()
    const first = keyed(tenantId, 'k', 'r')
    const [stored] = await enqueueJobs(fixture.db, [first])
    const [again] = await enqueueJobs(fixture.db, [keyed(tenantId, 'k', 'r')])
    expect(again).toEqual({ id: first.id, queuedAt: stored?.queuedAt, replayed: true })
    expect(await idsOf(fixture.db, { tenantId })).toEqual([{ id: first.id }])
    expect(await eventsOf(fixture.db, { id: first.id })).toHaveLength(1)
  })

  test('keys of two workspaces do not meet', async () => {
    const [one, other] = [newId(), newId()]
    await enqueueJobs(fixture.db, [keyed(one, 'k', 'r')])
    const [job] = await enqueueJobs(fixture.db, [keyed(other, 'k', 'another request')])
    expect(job?.replayed).toBe(false)
  })

  test('finds equal keys inside one batch', async () => {
    const tenantId = newId()
    const [a, b, c] = [keyed(tenantId, 'k', 'r'), keyed(tenantId, 'k', 'r'), keyed(tenantId, 'other', 'r')]
    const results = await enqueueJobs(fixture.db, [a, b, c])
    expect(results.map(({ id, replayed }) => [id, replayed])).toEqual([
      [a.id, false],
      [a.id, true],
      [c.id, false],
    ])
    expect(await idsOf(fixture.db, { tenantId })).toEqual([{ id: a.id }, { id: c.id }])
  })

  test('refuses a key of another request, names its places, and stores nothing of the batch', async () => {
    const tenantId = newId()
    await enqueueJobs(fixture.db, [keyed(tenantId, 'used', 'r')])
    const before = await keysOf(fixture.db, { tenantId })
    const batch = [
      keyed(tenantId, 'new', 'r'),
      keyed(tenantId, 'used', 'another'),
      sampleJob({ tenantId }),
      keyed(tenantId, 'new', 'differs inside the batch'),
    ]
    await expect(enqueueJobs(fixture.db, batch)).rejects.toMatchObject({
      code: 'idempotency_key_reused',
      extra: { details: [{ path: '/1' }, { path: '/3' }] },
    })
    expect(await idsOf(fixture.db, { tenantId })).toHaveLength(1)
    // The key `new` is free again: nothing was done with it.
    expect(await keysOf(fixture.db, { tenantId })).toEqual(before)
  })

  test('40 concurrent enqueues with one key make one job', async () => {
    const tenantId = newId()
    const calls = Array.from({ length: 40 }, () => enqueueJobs(fixture.db, [keyed(tenantId, 'k', 'r')]))
    const results = (await Promise.all(calls)).flat()
    expect(new Set(results.map(({ id }) => id)).size).toBe(1)
    expect(results.filter(({ replayed }) => !replayed)).toHaveLength(1)
    expect(await idsOf(fixture.db, { tenantId })).toHaveLength(1)
  })

  test('concurrent batches with the same keys in opposite orders do not deadlock', async () => {
    const tenantId = newId()
    const keys = Array.from({ length: 20 }, (_, index) => `k${index}`)
    const batch = (order: readonly string[]) =>
      enqueueJobs(
        fixture.db,
        order.map((key) => keyed(tenantId, key, 'r')),
      )
    await Promise.all(Array.from({ length: 8 }, (_, n) => batch(n % 2 ? keys : keys.toReversed())))
    expect(await idsOf(fixture.db, { tenantId })).toHaveLength(20)
  })

  test('leaves every job in exactly one place', async () => {
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })
})
