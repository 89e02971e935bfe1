import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { closeOldDays, dayAgo, idOfDay, oldDaysOf, openDays } from '../../../testing/old-days.ts'
import { systemClock } from '../clock.ts'
import { dropDay, listDueDays, sealDay } from './retention.sql.ts'
import { createRetention, type RetentionRule, retentionMetrics } from './retention.ts'

let database: TestDatabase
const clients: Client[] = []

const TABLES = ['thing', 'thing_part'] as const
const OLD = dayAgo(20)
const OLDER = dayAgo(21)

beforeAll(async () => {
  database = await testDatabase()
  for (const table of TABLES) {
    await query(`create table ${table} (id uuid primary key, open boolean not null) partition by range (id)`)
    await query(`insert into partitioned_table (name, by_id) values ('${table}', true)`)
  }
  await query('select create_partitions_ahead(1)')
})
beforeEach(() => openDays(database.owner, TABLES, [OLDER, OLD]))
afterEach(async () => {
  for (const client of clients.splice(0)) await client.end()
  await closeOldDays(database.owner, TABLES)
  await query('truncate thing, thing_part')
})
afterAll(() => database.drop())

const query = (text: string, values: readonly unknown[] = []) =>
  database.owner.execute<Record<string, unknown>>({ name: '', text }, values)
const add = (day: string, open = false, table = 'thing') =>
  query(`insert into ${table} (id, open) values ($1, $2)`, [idOfDay(day), open])

/** Somebody else, with an open transaction that holds a lock. */
async function holdLock(lock: string): Promise<Client> {
  const client = new Client({ connectionString: database.url })
  clients.push(client)
  await client.connect()
  await client.query(`begin; lock table ${lock}`)
  return client
}

/** Things that are open keep their day. */
const heldByOpen: NonNullable<RetentionRule['heldBy']> = async (tx, day) => {
  const text = `select from thing where open and tableoid = to_regclass('thing_' || $1)`
  const { rowCount } = await tx.execute({ name: '', text }, [day.replaceAll('-', '')])
  return rowCount ? { why: 'open things' } : undefined
}
const RULE: RetentionRule = { tables: TABLES, keepDays: 14, heldBy: heldByOpen }

function retention(rules: readonly RetentionRule[] = [RULE]) {
  const { log, lines } = capturedLog()
  const { db, metrics } = database.platform
  const time = { ms: 0 }
  const clock = { ...systemClock, monotonic: () => time.ms, sleep: async () => undefined }
  const round = createRetention({ db, log, metrics, clock, rules: async () => rules })
  return { lines, time, round, results: async () => (await round()).map(({ day, result }) => [day, result]) }
}

test('drops the days that are past their time, in all tables of the rule, and tells it', async () => {
  await openDays(database.owner, TABLES, [dayAgo(13)])
  await add(OLD)
  const { round, lines } = retention()
  const reports = await round()
  expect(reports).toMatchObject([
    { day: OLDER, result: 'dropped', tables: TABLES },
    { day: OLD, result: 'dropped' },
  ])
  expect(reports.at(-1)?.bytes).toBeGreaterThan(0)
  for (const table of TABLES) expect(await oldDaysOf(database.db, table)).toEqual([dayAgo(13)])
  expect(lines()).toMatchObject([{ day: OLDER }, { day: OLD, msg: 'a day of history was dropped' }])
  const { dropped, overdue } = retentionMetrics(database.platform.metrics)
  expect((await dropped.get()).values).toMatchObject([
    { labels: { table: 'thing' }, value: 2 },
    { labels: { table: 'thing_part' }, value: 2 },
  ])
  expect((await overdue.get()).values).toEqual([])
})

test('a day is due when it ended that long ago, and never one for which partitions are made', async () => {
  const due = await database.owner.transaction(async (tx) => {
    // One transaction has one `now()`: it cannot be midnight in between.
    const text = `
      do $$ begin
        for n in 1..16 loop
          execute format('create table if not exists %I partition of thing for values from (%L) to (%L)',
            'thing_' || to_char(current_date - n, 'YYYYMMDD'),
            first_id_at(current_date - n), first_id_at(current_date - n + 1));
        end loop;
      end $$`
    await tx.execute({ name: '', text }, [])
    const today = 'select to_char(current_date - n, $1) as day from unnest($2::int[]) as n'
    const daysAgo = async (...days: number[]) =>
      (await tx.execute<{ day: string }>({ name: '', text: today }, ['YYYY-MM-DD', days])).rows[0]?.day
    const newest = async (keepDays: number) =>
      (await listDueDays(tx, { tables: TABLES, keepDays })).at(-1)?.day
    return {
      found: [await newest(14), await newest(2), await newest(0)],
      expected: [await daysAgo(15), await daysAgo(3), await daysAgo(3)],
    }
  })
  expect(due.found).toEqual(due.expected)
  await expect(dropDay(database.db, { tables: TABLES, day: dayAgo(1) })).rejects.toThrow('are in use')
})

test('a day in which something is open stays, and is left alone until the next look is due', async () => {
  await add(OLD, true)
  const { round, time, lines } = retention()
  expect(await round()).toMatchObject([
    { day: OLDER, result: 'dropped' },
    { day: OLD, result: 'held', why: 'open things' },
  ])
  expect(lines().at(-1)).toMatchObject({ day: OLD, why: 'open things' })
  const { overdue } = retentionMetrics(database.platform.metrics)
  const held = [{ labels: { table: 'thing', why: 'held' }, value: 1 }]
  expect((await overdue.get()).values).toMatchObject(held)
  await query('update thing set open = false')
  expect(await round()).toEqual([])
  expect((await overdue.get()).values).toMatchObject(held)
  time.ms = 86_400_000
  expect(await round()).toMatchObject([{ day: OLD, result: 'dropped' }])
  expect((await overdue.get()).values).toEqual([])
})

test('a rule may know when the next look is worth it', async () => {
  let looks = 0
  const heldBy = async () => {
    looks += 1
    return looks <= 2 ? { why: 'not yet', lookAgainInMs: 5_000 } : undefined
  }
  const { round, time } = retention([{ ...RULE, heldBy }])
  await round()
  time.ms = 4_999
  expect(await round()).toEqual([])
  time.ms = 5_000
  expect(await round()).toMatchObject([{ result: 'dropped' }, { result: 'dropped' }])
})

test('what comes into a day after the look is seen by the second one, and the day stays usable', async () => {
  let looks = 0
  const late: RetentionRule = {
    ...RULE,
    heldBy: async (tx, day) => {
      const hold = await heldByOpen(tx, day)
      if (day === OLD && looks++ === 0) await add(day, true)
      return hold
    },
  }
  const { results } = retention([late])
  expect(await results()).toEqual([
    [OLDER, 'dropped'],
    [OLD, 'held'],
  ])
  expect(looks).toBe(2)
  await add(OLD, true)
  await query('update thing set open = false')
})

test('what comes into a day after the second look is refused, and so not lost', async () => {
  const refused: unknown[] = []
  const late: RetentionRule = {
    ...RULE,
    forget: async (_, day) => {
      await add(day, true).catch((error) => refused.push(error.code))
      const change = 'update thing set open = true where tableoid = to_regclass($1)'
      await query(change, [`thing_${day.replaceAll('-', '')}`]).catch((error) => refused.push(error.code))
    },
  }
  await add(OLD)
  expect(await retention([late]).results()).toEqual([
    [OLDER, 'dropped'],
    [OLD, 'dropped'],
  ])
  expect(refused).toEqual(['23514', '23514', '23514'])
})

test('the seal of a round that was killed is taken off a day that has to stay', async () => {
  await add(OLD, true)
  await sealDay(database.db, { table: 'thing', day: OLD, sealed: true })
  await expect(add(OLD)).rejects.toThrow('sealed_by_retention')
  expect((await retention().results()).at(-1)).toEqual([OLD, 'held'])
  await add(OLD)
})

test('a seal that cannot be taken off is not forgotten', async () => {
  await add(OLD, true)
  await sealDay(database.db, { table: 'thing', day: OLD, sealed: true })
  const reader = await holdLock(`thing_${OLD.replaceAll('-', '')} in access share mode`)
  const { results } = retention()
  expect((await results()).at(-1)).toEqual([OLD, 'busy'])
  await reader.query('rollback')
  expect(await results()).toEqual([[OLD, 'held']])
  await add(OLD)
})

test('behind a lock it gives up, others do not wait for the holder, and a later round succeeds', async () => {
  const reader = await holdLock('thing in access share mode')
  const { round, results, lines } = retention([{ tables: TABLES, keepDays: 14 }])
  const running = round()
  // Without a limit these would stand behind the drop, and the drop behind a reader that never ends.
  for (let n = 0; n < 20; n += 1) await add(dayAgo(0))
  expect((await running).map(({ result }) => result)).toEqual(['busy', 'busy'])
  expect(lines().at(-1)?.msg).toContain('could not be locked')
  expect(await oldDaysOf(database.db, 'thing_part')).toEqual([OLDER, OLD])
  await reader.query('commit')
  expect(await results()).toEqual([
    [OLDER, 'dropped'],
    [OLD, 'dropped'],
  ])
})

test('a drop that stands behind somebody is over long before its statement would be', async () => {
  await holdLock('thing in access share mode')
  const drop = dropDay(database.db, { tables: TABLES, day: OLD })
  await expect(drop).rejects.toMatchObject({ code: '55P03' })
})

test('of the tables of a rule all lose a day or none, and other days go on', async () => {
  await holdLock(`thing_part_${OLDER.replaceAll('-', '')} in access share mode`)
  expect(await retention().results()).toEqual([
    [OLDER, 'busy'],
    [OLD, 'dropped'],
  ])
  for (const table of TABLES) expect(await oldDaysOf(database.db, table)).toEqual([OLDER])
})

test('a look that fails is logged and keeps nothing else from going', async () => {
  const failing: RetentionRule = { ...RULE, heldBy: () => Promise.reject(new Error('the look failed')) }
  const { results, lines } = retention([failing, { tables: ['thing_part'], keepDays: 14 }])
  expect(await results()).toEqual([
    [OLDER, 'failed'],
    [OLD, 'failed'],
    [OLDER, 'dropped'],
    [OLD, 'dropped'],
  ])
  expect(lines()[0]).toMatchObject({ err: { message: 'the look failed' }, day: OLDER })
  expect(await oldDaysOf(database.db, 'thing')).toEqual([OLDER, OLD])
})

test('a stop ends the round before the next day', async () => {
  const stopping = new AbortController()
  const { round } = retention([{ ...RULE, forget: async () => stopping.abort() }])
  expect(await round(stopping.signal)).toMatchObject([{ day: OLDER }])
  expect(await oldDaysOf(database.db, 'thing')).toEqual([OLD])
})

test('two rounds and the making of partitions at the same time do not disturb each other', async () => {
  await add(OLD)
  const [one, other] = await Promise.all([
    retention().results(),
    retention().results(),
    ...[1, 2, 3].map(() => query('select create_partitions_ahead(3)')),
  ])
  const results = [...one, ...other].map(([, result]) => result)
  expect(results.every((result) => result === 'dropped' || result === 'busy')).toBe(true)
  await retention().results()
  expect(await oldDaysOf(database.db, 'thing')).toEqual([])
  const { rows } = await query('select create_partitions_ahead(3) as made')
  expect(rows).toEqual([{ made: 0 }])
})
