import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hashOf, type QueueFixture, queueFixture, sampleJob, whereIs } from '../../testing/queue-fixture.ts'
import type { Queryable } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { createEnqueuer } from './enqueuer.ts'
import type { LaneKey } from './job.ts'
import type { WakeUp } from './wake-up.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterAll(() => fixture.drop())

function recordedWakeUp() {
  const hints: LaneKey[] = []
  const wakeUp: WakeUp = {
    hint: (lanes) => {
      hints.push(...lanes)
    },
    subscribe: () => () => undefined,
    close: async () => undefined,
  }
  return { hints, wakeUp }
}

/** Counts the statements that go to the real database. */
function counted(): { db: Queryable; statements: () => number } {
  let statements = 0
  return {
    statements: () => statements,
    db: {
      execute: (statement, values) => {
        statements += 1
        return fixture.db.execute(statement, values)
      },
    },
  }
}

describe('createEnqueuer', () => {
  test('merges concurrent calls into few statements and answers each with its own job', async () => {
    const { db, statements } = counted()
    const { hints, wakeUp } = recordedWakeUp()
    const enqueuer = createEnqueuer(db, { wakeUp })
    const tenantId = newId()
    const jobs = Array.from({ length: 250 }, () => sampleJob({ tenantId }))
    const answers = await Promise.all(jobs.map((job) => enqueuer.enqueue(job)))
    expect(answers.map(({ id }) => id)).toEqual(jobs.map(({ id }) => id))
    // Three at once, of 24 rows each; what is left shares two more.
    expect(statements()).toBe(5)
    expect(hints).toHaveLength(250)
    for (const job of [jobs[0], jobs[249]])
      expect(await whereIs(fixture.db, { tenantId, id: job?.id ?? '' })).toMatchObject({ ready: 1 })
  })

  test('a refused key fails its own caller only; a replay wakes nobody', async () => {
    const { hints, wakeUp } = recordedWakeUp()
    const enqueuer = createEnqueuer(fixture.db, { wakeUp })
    const tenantId = newId()
    const keyed = (request: string) =>
      sampleJob({ tenantId, dedupe: { key: 'k', requestHash: hashOf(request) } })
    const first = keyed('r')
    await enqueuer.enqueue(first)
    hints.length = 0
    const [replay, refused, plain] = await Promise.allSettled([
      enqueuer.enqueue(keyed('r')),
      enqueuer.enqueue(keyed('another')),
      enqueuer.enqueue(sampleJob({ tenantId, lane: 7 })),
    ])
    expect(replay).toMatchObject({ status: 'fulfilled', value: { id: first.id, replayed: true } })
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'idempotency_key_reused' } })
    expect(plain).toMatchObject({ status: 'fulfilled', value: { replayed: false } })
    expect(hints.map(({ lane }) => lane)).toEqual([7])
  })

  test('a job for later wakes nobody; one whose time has come does', async () => {
    const { hints, wakeUp } = recordedWakeUp()
    const enqueuer = createEnqueuer(fixture.db, { wakeUp })
    const tenantId = newId()
    await enqueuer.enqueue(sampleJob({ tenantId, lane: 8, runAt: new Date(Date.now() + 3_600_000) }))
    await enqueuer.enqueue(sampleJob({ tenantId, lane: 9, runAt: new Date(0) }))
    expect(hints.map(({ lane }) => lane)).toEqual([9])
  })

  test('a job that the database refuses does not take its batch with it', async () => {
    const { wakeUp } = recordedWakeUp()
    const enqueuer = createEnqueuer(fixture.db, { wakeUp })
    const tenantId = newId()
    const good = [sampleJob({ tenantId }), sampleJob({ tenantId })]
    const outOfRange = { ...sampleJob({ tenantId }), priority: 9 as never }
    const results = await Promise.allSettled(
      [good[0], outOfRange, good[1]].map((job) => enqueuer.enqueue(job as never)),
    )
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    for (const job of good) expect(await whereIs(fixture.db, job)).toMatchObject({ ready: 1 })
  })

  test('close answers what was accepted and refuses the rest', async () => {
    const { wakeUp } = recordedWakeUp()
    const enqueuer = createEnqueuer(fixture.db, { wakeUp })
    const accepted = enqueuer.enqueue(sampleJob({ tenantId: newId() }))
    const closed = enqueuer.close()
    await expect(enqueuer.enqueue(sampleJob({ tenantId: newId() }))).rejects.toMatchObject({
      code: 'shutting_down',
    })
    await closed
    expect(await accepted).toMatchObject({ replayed: false })
  })

  /** The real database, behind a door that opens when the test says so. */
  function stuck() {
    const { promise: opened, resolve: open } = Promise.withResolvers<void>()
    const db: Queryable = {
      execute: async (statement, values) => {
        await opened
        return fixture.db.execute(statement, values)
      },
    }
    return { db, open }
  }

  test('behind a stuck database so many jobs wait and no more: the next are told to come again', async () => {
    const { db, open } = stuck()
    const { wakeUp } = recordedWakeUp()
    const enqueuer = createEnqueuer(db, { wakeUp })
    const tenantId = newId()
    const jobs = Array.from({ length: 5_000 }, () => sampleJob({ tenantId }))
    const accepted = jobs.map((job) => enqueuer.enqueue(job))
    const late = sampleJob({ tenantId })
    await expect(enqueuer.enqueue(late)).rejects.toMatchObject({
      code: 'database_unavailable',
      status: 503,
      extra: { retryAfterSeconds: 2 },
    })
    open()
    expect(await Promise.all(accepted)).toHaveLength(5_000)
    // Its id would be taken if it had been stored.
    expect(await enqueuer.enqueue(late)).toMatchObject({ id: late.id })
  })

  test('few large jobs are too many, too', async () => {
    const { db, open } = stuck()
    const { wakeUp } = recordedWakeUp()
    const enqueuer = createEnqueuer(db, { wakeUp, maxWaitingBytes: 2_000 })
    const job = () => sampleJob({ tenantId: newId() })
    const accepted = [enqueuer.enqueue(job(), 1_500), enqueuer.enqueue(job(), 1_500)]
    await expect(enqueuer.enqueue(job(), 1)).rejects.toMatchObject({ code: 'database_unavailable' })
    open()
    await Promise.all(accepted)
    expect(await enqueuer.enqueue(job(), 1)).toMatchObject({ replayed: false })
  })
})
