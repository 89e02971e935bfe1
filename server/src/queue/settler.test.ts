import { describe, expect, test } from 'vitest'
import { sampleClaimed } from '../../testing/claimed-job.ts'
import { manualClock } from '../../testing/manual-clock.ts'
import type { Db } from '../platform/db/db.ts'
import type { Queryable } from '../platform/db/statement.ts'
import { createLog } from '../platform/log.ts'
import { Problem } from '../problems.ts'
import type { SettleRecord } from './settle.sql.ts'
import { createSettler } from './settler.ts'

const claimed = (leaseId: number) => sampleClaimed({ leaseId })
const done = { kind: 'done', result: null, why: 'Done.' } as const

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

function settlerOn(db: Db) {
  const clock = manualClock()
  const log = createLog('test', 'silent')
  const settler = createSettler({
    db,
    followUps: undefined,
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
        ? new Error('invalid input syntax')
        : undefined,
    )
    const { clock, settler } = settlerOn(db)
    const all = Promise.all([1, 2, 3].map((lease) => settler.settle({ job: claimed(lease), outcome: done })))
    await clock.whenSleeping()
    await clock.advance(60_000)
    await all
    expect(stored.map(({ lease_id, outcome, reason }) => [lease_id, outcome, reason])).toEqual([
      [1, 'done', undefined],
      [2, 'dead', 'settle_failed'],
      [3, 'done', undefined],
    ])
    expect(JSON.stringify(stored)).not.toContain('invalid input syntax')
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
