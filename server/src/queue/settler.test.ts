import { describe, expect, test } from 'vitest'
import { sampleClaimed } from '../../testing/claimed-job.ts'
import { manualClock } from '../../testing/manual-clock.ts'
import type { Db } from '../platform/db/db.ts'
import type { Queryable } from '../platform/db/statement.ts'
import { createLog } from '../platform/log.ts'
import { Problem } from '../problems.ts'
import type { FollowUps } from './job.ts'
import type { SettleRecord } from './settle.sql.ts'
import { createSettler } from './settler.ts'

const claimed = (leaseId: number) => sampleClaimed({ leaseId })
const done = { kind: 'done', result: null, why: 'Done.' } as const

/** How Postgres refuses a statement; `more` are further fields of its message. */
const refusal = (code: string, more: object = {}) =>
  Object.assign(new Error(`refused with ${code}`), { code, ...more })
const outcomesOf = (stored: readonly SettleRecord[]) =>
  stored.map(({ lease_id, outcome }) => [lease_id, outcome])

/** A database that fails as it is told to; what it takes is in `stored`. */
function database(fail: (records: readonly SettleRecord[], call: number) => Error | undefined) {
  const stored: SettleRecord[] = []
  let calls = 0
  const on: Queryable = {
    execute: (async (_statement: unknown, [json]: readonly unknown[]) => {
      const records = JSON.parse(String(json)) as SettleRecord[]
      calls += 1
      const error = fail(records, calls)
      if (error) throw error
      stored.push(...records)
      const rows = records.map(({ job_id, lease_id, outcome, why }) => ({ job_id, lease_id, outcome, why }))
      return { rows, rowCount: rows.length }
    }) as never,
  }
  const db: Db = {
    ...on,
    transaction: (work) => work({ ...on, isTransaction: true }),
    close: async () => undefined,
  }
  return { db, stored, calls: () => calls }
}

function settlerOn(db: Db, followUps?: FollowUps) {
  const clock = manualClock()
  const log = createLog('test', 'silent')
  const settler = createSettler({
    db,
    followUps,
    clock,
    random: () => 1,
    log,
    settled: () => undefined,
  })
  return { clock, settler }
}

describe('createSettler', () => {
  test('waits for a database that is away, with growing pauses, and loses nothing', async () => {
    const away = new Problem('database_unavailable', 'away')
    const { db, stored, calls } = database((_records, call) => (call <= 4 ? away : undefined))
    const { clock, settler } = settlerOn(db)
    const settled = settler.settle({ job: claimed(1), outcome: done })
    for (const pauseMs of [100, 200, 400, 800]) {
      await clock.whenSleeping()
      expect(settler.size).toBe(1)
      await clock.advance(pauseMs)
    }
    await settled
    expect([stored.map(({ lease_id }) => lease_id), calls()]).toEqual([[1], 5])
  })

  test('settles a failing batch one by one; what fails alone becomes a dead letter without foreign text', async () => {
    const { db, stored } = database((records) =>
      records.some(({ lease_id, outcome }) => lease_id === 2 && outcome === 'done')
        ? refusal('22P05')
        : undefined,
    )
    const { clock, settler } = settlerOn(db)
    const all = Promise.all([1, 2, 3].map((lease) => settler.settle({ job: claimed(lease), outcome: done })))
    await clock.whenSleeping()
    await clock.advance(60_000)
    await all
    expect(stored.map(({ lease_id, outcome, reason }) => [lease_id, outcome, reason])).toEqual([
      [1, 'done', undefined],
      [3, 'done', undefined],
      [2, 'dead', 'settle_failed'],
    ])
    expect(JSON.stringify(stored)).not.toContain('refused with')
  })

  test.each([
    ['a statement timeout', refusal('57014')],
    ['a deadlock', refusal('40P01')],
    ['a lock timeout', refusal('55P03')],
    ['a full disk', refusal('53100')],
    ['a day without a partition', refusal('23514')],
    ['a day that retention looks at', refusal('23514', { constraint: 'sealed_by_retention' })],
  ])(
    '%s is waited for by the whole batch, however often it fails; no job pays for it',
    async (_what, error) => {
      const { db, stored, calls } = database((_records, call) => (call <= 12 ? error : undefined))
      const { clock, settler } = settlerOn(db)
      const all = Promise.all([1, 2].map((lease) => settler.settle({ job: claimed(lease), outcome: done })))
      await clock.whenSleeping()
      await clock.advance(120_000)
      await all
      expect(outcomesOf(stored)).toEqual([
        [1, 'done'],
        [2, 'done'],
      ])
      expect(calls()).toBe(13)
    },
  )

  test('what nobody foresaw keeps its own settlement waiting, and makes no dead letter of it', async () => {
    let broken = true
    const { db, stored } = database((records) =>
      broken && records.some(({ lease_id }) => lease_id === 1) ? refusal('XX000') : undefined,
    )
    const { clock, settler } = settlerOn(db)
    const all = Promise.all([1, 2, 3].map((lease) => settler.settle({ job: claimed(lease), outcome: done })))
    await clock.whenSleeping()
    await clock.advance(60_000)
    expect(outcomesOf(stored)).toEqual([
      [2, 'done'],
      [3, 'done'],
    ])
    broken = false
    await clock.advance(10_000)
    await all
    expect(outcomesOf(stored).at(-1)).toEqual([1, 'done'])
  })

  test.each([
    ['which Postgres refuses', { text: 'x' }, refusal('22P05')],
    ['which breaks a constraint', 1, refusal('23514', { constraint: 'job_attempt_check' })],
    ['which is nested too deep', 1, refusal('54001')],
    ['which is no JSON', 1n, undefined],
  ])('a result %s makes a dead letter, at the third time', async (_what, result, error) => {
    const { db, stored } = database((records) => (records[0]?.outcome === 'done' ? error : undefined))
    const { clock, settler } = settlerOn(db)
    const settled = settler.settle({ job: claimed(1), outcome: { ...done, result } })
    await clock.whenSleeping()
    await clock.advance(60_000)
    await settled
    expect(outcomesOf(stored)).toEqual([[1, 'dead']])
  })

  test.each([
    ['of their own', new Error('no such connector'), 'dead'],
    ['of the database', refusal('57014'), 'done'],
  ])('follow-ups that fail by a fault %s', async (_whose, error, outcome) => {
    const { db, stored } = database(() => undefined)
    let failures = 0
    const { clock, settler } = settlerOn(db, async () => {
      failures += 1
      if (failures <= 12) throw error
      return []
    })
    const job = { ...claimed(1), completion: { callback: { connector: 'shop' } } }
    const settled = settler.settle({ job, outcome: done })
    await clock.whenSleeping()
    await clock.advance(120_000)
    await settled
    expect(outcomesOf(stored).at(-1)).toEqual([1, outcome])
  })

  test.each([
    ['is told why, without a completion', 'The route is paused.', 'route_paused'],
    ['is given up when somebody has cancelled it meanwhile', 'Cancelled by svc:shop.', undefined],
  ])('work that is held %s', async (_what, storedWhy, held) => {
    const { db } = database(() => undefined)
    const answering = {
      execute: (async () => ({
        rows: [{ job_id: job.id, lease_id: 1, outcome: 'cancelled', why: storedWhy }],
      })) as never,
    }
    const told: unknown[] = []
    const job = claimed(1)
    const { settler } = settlerOn(
      { ...db, transaction: (work) => work({ ...answering, isTransaction: true }) },
      async (_tx, ended) => {
        told.push(...ended.map((each) => [each.job.id, each.state, each.held]))
        return []
      },
    )
    await settler.settle({
      job,
      outcome: { kind: 'cancelled', why: 'The route is paused.', held: 'route_paused' },
    })
    expect(told).toEqual([[job.id, 'cancelled', held]])
  })

  test('abandon lets waiting callers go', async () => {
    const { db, stored } = database(() => new Problem('database_unavailable', 'away'))
    const { clock, settler } = settlerOn(db)
    const settled = settler.settle({ job: claimed(1), outcome: done })
    await clock.whenSleeping()
    settler.abandon()
    await settled
    expect(stored).toEqual([])
  })
})
