import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { capturedLog } from '../../testing/captured-log.ts'
import { sampleClaimed } from '../../testing/claimed-job.ts'
import { clearQueue, type QueueFixture, queueFixture, sampleJob } from '../../testing/queue-fixture.ts'
import type { Tx } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { endInBatches } from './end-in-batches.ts'
import { enqueueJobs } from './enqueue.ts'
import type { EndedJob, FollowUps } from './job.ts'

const fixture: QueueFixture = await queueFixture()
afterAll(() => fixture.drop())
beforeEach(async () => {
  await clearQueue(fixture.owner, undefined)
  await query(fixture.owner, 'truncate event')
  await query(fixture.owner, 'create table if not exists ending (number int primary key)')
  await query(fixture.owner, 'truncate ending')
})

const query = <Row extends object>(on: Pick<Tx, 'execute'>, text: string, values: readonly unknown[] = []) =>
  on.execute<Row & Record<string, unknown>>({ name: '', text }, values)

const endedJob = (number: number): EndedJob => ({
  job: sampleClaimed({
    leaseId: number,
    metadata: { number },
    completion: { callback: { connector: 'shop' } },
  }),
  state: 'dead',
  result: null,
  why: 'It was lost.',
  reason: 'poison',
  error: null,
})
const numberOf = ({ job }: EndedJob) => Number(job.metadata.number)

/** Ends jobs 1 to `count` once; `end` may fail before. */
function round(count: number, followUps: FollowUps, end?: () => Promise<unknown>) {
  const jobs = Array.from({ length: count }, (_, at) => endedJob(at + 1))
  const { log, text } = capturedLog()
  const committed: number[] = []
  const run = async () => {
    const left = jobs.slice(committed.reduce((sum, rows) => sum + rows, 0))
    let next = 0
    return endInBatches(fixture.db, {
      followUps,
      log,
      end: async (tx, limit) => {
        await end?.()
        const rows = left.slice(next, next + limit)
        for (const row of rows) await query(tx, 'insert into ending values ($1)', [numberOf(row)])
        next += limit
        return rows
      },
      endedOf: (row) => [row],
      committed: (rows) => committed.push(rows.length),
    })
  }
  return { run, jobs, committed, logged: text }
}
const endings = async () => Number((await query(fixture.db, 'select * from ending')).rowCount)
const skipped = async () =>
  (
    await query<{ job_id: string; severity: string; connector: string }>(
      fixture.db,
      `select job_id, severity, connector from event where type = 'job.callback_skipped'`,
    )
  ).rows

const callbacks: FollowUps = async (tx, ended) => {
  const jobs = ended.map((each) =>
    sampleJob({ tenantId: each.job.tenantId, metadata: { of: numberOf(each) } }),
  )
  await enqueueJobs(tx, jobs)
  return jobs
}
const enqueuedOf = async () =>
  (
    await query<{ of: number }>(fixture.db, `select (metadata->>'of')::int as of from job_payload order by 1`)
  ).rows.map(({ of }) => of)
const postgresSays = (code: string) => Object.assign(new Error('refused'), { code })

describe('endInBatches', () => {
  test.each([
    ['throws', () => Promise.reject(new Error('broken'))],
    ['breaks the transaction', (tx: Tx) => query(tx, 'select * from nothing')],
  ])(
    'a follow-up that %s is left out and told in the timeline; those of its batch are not',
    async (_how, fail) => {
      const { run, jobs, committed } = round(3, async (tx, ended) => {
        const lanes = await callbacks(tx, ended)
        if (ended.some((each) => numberOf(each) === 2)) await fail(tx)
        return lanes
      })
      expect(await run()).toMatchObject([1, 3].map((at) => ({ tenantId: jobs[at - 1]?.job.tenantId })))
      expect(committed).toEqual([3])
      expect([await endings(), await enqueuedOf()]).toEqual([3, [1, 3]])
      expect(await skipped()).toEqual([{ job_id: jobs[1]?.job.id, severity: 'error', connector: 'shop' }])
    },
  )

  test('a database in trouble ends the round, whoever met it; nothing is left out', async () => {
    let failures = 0
    const trouble = (times: number) => async () => {
      failures += 1
      if (failures <= times) throw postgresSays('57014')
    }
    const met = trouble(4)
    const inFollowUps = round(1, async (tx, ended) => {
      await met()
      return callbacks(tx, ended)
    })
    for (let time = 1; time <= 4; time += 1)
      await expect(inFollowUps.run()).rejects.toMatchObject({ code: '57014' })
    expect(await endings()).toBe(0)
    expect(await inFollowUps.run()).toHaveLength(1)
    failures = 0
    await query(fixture.owner, 'truncate ending')
    const inEnd = round(1, callbacks, trouble(4))
    for (let time = 1; time <= 4; time += 1)
      await expect(inEnd.run()).rejects.toMatchObject({ code: '57014' })
    expect(await inEnd.run()).toHaveLength(1)
    expect([await enqueuedOf(), await skipped()]).toEqual([[1, 1], []])
    expect(inEnd.logged()).not.toContain('follow-ups')
  })

  test('goes on until there are no more, and gives each lane once', async () => {
    const tenantId = newId()
    const { run, committed } = round(450, async (_tx, ended) => ended.map(() => sampleJob({ tenantId })))
    expect(await run()).toEqual([{ queue: 'default', tenantId, lane: 1 }])
    expect(committed).toEqual([200, 200, 50])
  })
})
