import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { emptyDatabase } from '../../../testing/database.ts'
import { createLog } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { createDb, type Db } from './db.ts'
import { isDataFault, isTransient } from './failures.ts'

let database: Awaited<ReturnType<typeof emptyDatabase>>
let db: Db

const query = (text: string, values: readonly unknown[] = []) => db.execute({ name: '', text }, values)

beforeAll(async () => {
  database = await emptyDatabase()
  db = createDb({
    url: database.url,
    applicationName: 'test',
    poolSize: 3,
    slowQueryMs: 1_000,
    log: createLog('test', 'silent'),
    metrics: createMetrics('test', false),
    session: { statement_timeout: '100' },
    role: 'login',
  })
  await query('create table day (at int, n int constraint positive check (n > 0)) partition by range (at)')
  await query('create table day_1 partition of day for values from (1) to (2)')
  await query('create table day_2 partition of day for values from (2) to (3)')
  await query('alter table day_2 add constraint sealed_by_retention check (false) not valid')
})
afterAll(async () => {
  await db.close()
  await database.drop()
})

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  const failure = await work.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(failure).toBeInstanceOf(Error)
  return failure
}

describe('a failure of Postgres', () => {
  test.each([
    ['a statement that takes too long', () => query('select pg_sleep(5)')],
    [
      'a lock that somebody else holds',
      () =>
        db.transaction(async (tx) => {
          await tx.execute({ name: '', text: 'lock table day' }, [])
          await query(`do $$ begin set local lock_timeout = 10; insert into day values (1, 1); end $$`)
        }),
    ],
    ['a day without a partition', () => query('insert into day values (7, 1)')],
    ['a sealed day', () => query('insert into day values (2, 1)')],
  ])('because of %s passes', async (_why, work) => {
    const failure = await failureOf(work())
    expect([isTransient(failure), isDataFault(failure)]).toEqual([true, false])
  })

  test.each([
    ['a value of the wrong form', () => query('select $1::text::json', ['{'])],
    ['a broken check', () => query('insert into day values (1, 0)')],
    ['a document nested too deep', () => query('select $1::text::json', ['['.repeat(200_000)])],
  ])('because of %s is the fault of the data', async (_why, work) => {
    const failure = await failureOf(work())
    expect([isTransient(failure), isDataFault(failure)]).toEqual([false, true])
  })

  test('because of a wrong statement is neither', async () => {
    const failure = await failureOf(query('select * from nothing'))
    expect([isTransient(failure), isDataFault(failure)]).toEqual([false, false])
  })
})
