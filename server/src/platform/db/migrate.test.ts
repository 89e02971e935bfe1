import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { emptyDatabase, testPlatform } from '../../../testing/database.ts'
import { createLog } from '../log.ts'
import { StartRefused } from '../start-refused.ts'
import { checkSchema, migrate } from './migrate.ts'

const log = createLog('test', 'silent')
let directory: string
let database: Awaited<ReturnType<typeof emptyDatabase>>

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'orchestrator-migrations-'))
  database = await emptyDatabase()
})
afterEach(async () => {
  await database.drop()
  await rm(directory, { recursive: true })
})

const file = (name: string, sql: string) => writeFile(join(directory, name), sql)
const up = () => migrate({ url: database.url, log, directory })

async function query(sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: database.url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

async function check(): Promise<void> {
  const platform = testPlatform(database.url)
  try {
    await checkSchema({ db: platform.db, log, directory })
  } finally {
    await platform.notifications.close()
    await platform.db.close()
    await platform.owner.close()
  }
}

describe('migrate', () => {
  test('applies in order, remembers what it applied, and applies nothing twice', async () => {
    await file('0001_one.sql', 'create table a (x int); insert into a values (1);')
    await file('0002_two.sql', '-- breaking\ninsert into a select x + 1 from a;')
    expect(await up()).toEqual({ applied: ['0001_one.sql', '0002_two.sql'] })
    await file('0003_three.sql', 'insert into a values (3)')
    expect(await up()).toEqual({ applied: ['0003_three.sql'] })
    expect(await up()).toEqual({ applied: [] })
    expect(await query('select x from a order by x')).toEqual([{ x: 1 }, { x: 2 }, { x: 3 }])
    expect(await query('select version, name, breaking from schema_migration order by version')).toEqual([
      { version: 1, name: 'one', breaking: false },
      { version: 2, name: 'two', breaking: true },
      { version: 3, name: 'three', breaking: false },
    ])
  })

  test('leaves statistics behind, so that the first plans are not guesses', async () => {
    await file('0001_one.sql', 'create table a as select generate_series(1, 500) as x;')
    await up()
    expect(await query("select reltuples::int as rows from pg_class where relname = 'a'")).toEqual([
      { rows: 500 },
    ])
  })

  test('several at once: one works, the others wait and find nothing to do', async () => {
    await file('0001_one.sql', 'create table a (x int); select pg_sleep(0.1);')
    const results = await Promise.all([up(), up(), up(), up()])
    expect(results.flatMap(({ applied }) => applied)).toEqual(['0001_one.sql'])
  })

  test('a failing file leaves no trace, keeps those before it and names its line', async () => {
    await file('0001_one.sql', 'create table a (x int);')
    await file('0002_two.sql', 'create table b (x int);\n\ninsert into nowhere values (1);')
    await expect(up()).rejects.toThrow(/0002_two\.sql, line 3 failed and was rolled back: .*nowhere/)
    expect(await query("select to_regclass('a') is null as a, to_regclass('b') is null as b")).toEqual([
      { a: false, b: true },
    ])
    await file('0002_two.sql', 'create table b (x int);')
    expect(await up()).toEqual({ applied: ['0002_two.sql'] })
  })

  test('a file that commits by itself is refused: its row would not be in its transaction', async () => {
    await file('0001_one.sql', 'create table a (x int); commit; begin;')
    await expect(up()).rejects.toThrow('must not end its transaction itself')
  })

  test('a changed file is refused, line ends alone are no change', async () => {
    await file('0001_one.sql', 'create table a (x int);\n')
    await up()
    await file('0001_one.sql', 'create table a (x int);\r\n')
    expect(await up()).toEqual({ applied: [] })
    await file('0001_one.sql', 'create table a (x bigint);\n')
    await expect(up()).rejects.toThrow('0001_one was changed after it was applied')
  })

  test('a server that cannot be reached is told without the password', async () => {
    const failure = await migrate({ url: 'postgresql://me:hunter2@127.0.0.1:1/there', log, directory }).catch(
      (error: unknown) => error,
    )
    expect(failure).toBeInstanceOf(StartRefused)
    expect(String(failure)).toContain('127.0.0.1:1/there')
    expect(String(failure)).not.toContain('hunter2')
  })

  test('a connection that ends in the middle is told as such', async () => {
    await file('0001_one.sql', 'select pg_terminate_backend(pg_backend_pid());')
    await expect(up()).rejects.toThrow(StartRefused)
  })
})

describe('a database that is newer than the code', () => {
  beforeEach(async () => {
    await file('0001_one.sql', 'create table a (x int);')
    await up()
  })
  const newer = (breaking: boolean) =>
    query(`insert into schema_migration values (2, 'later', 'x', ${breaking}, now())`)

  test('is accepted without breaking migrations, by both', async () => {
    await newer(false)
    expect(await up()).toEqual({ applied: [] })
    await check()
  })

  test('is refused with one, by both', async () => {
    await newer(true)
    await expect(up()).rejects.toThrow(/newer than this version.*0002_later/)
    await expect(check()).rejects.toThrow(/newer than this version.*0002_later/)
  })
})

describe('checkSchema', () => {
  test('tells to migrate an empty and an old database, and accepts a current one', async () => {
    await file('0001_one.sql', 'create table a (x int);')
    await expect(check()).rejects.toThrow(/1 migrations are missing.*0001_one\.sql.*npx orchestrator migrate/)
    await up()
    await check()
    await file('0002_two.sql', 'create table b (x int);')
    await expect(check()).rejects.toThrow(/0002_two\.sql.*npx orchestrator migrate/)
  })
})
