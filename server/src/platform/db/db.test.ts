import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { emptyDatabase } from '../../../testing/database.ts'
import { createMetrics } from '../metrics.ts'
import { createDb, type Db } from './db.ts'
import { violatesUnique } from './failures.ts'
import { createNotifications, notify } from './notifications.ts'
import { many, maybeOne, one, run } from './statement.ts'

let database: Awaited<ReturnType<typeof emptyDatabase>>
let db: Db
const captured = capturedLog()
const metrics = createMetrics('test', false)

const open = (url: string, session?: Record<string, string>): Db =>
  createDb({
    url,
    applicationName: 'db test',
    poolSize: 3,
    slowQueryMs: 1,
    log: captured.log,
    metrics,
    role: 'login',
    ...(session && { session }),
  })

const createTable = run<null>(
  'test.create',
  'create table thing (id int constraint thing_key primary key, n int8)',
  () => [],
)
const insert = run<{ id: number }>('test.insert', 'insert into thing values ($1::int, $1::int)', ({ id }) => [
  id,
])
const all = many<null, { id: number; n: number }>('test.all', 'select * from thing order by id', () => [])
const byId = maybeOne<number, { id: number }>('test.by_id', 'select * from thing where id = $1', (id) => [id])
const exactlyOne = one<null, { id: number }>('test.exactly_one', 'select * from thing', () => [])
const setting = one<string, { value: string }>(
  'test.setting',
  'select current_setting($1) as value',
  (name) => [name],
)
const nap = run<null>('test.nap', 'select pg_sleep(0.02)', () => [])
const big = one<null, { n: number }>('test.big', 'select 9007199254740993::int8 as n', () => [])
const killAll = run<string>(
  'test.kill',
  'select pg_terminate_backend(pid) from pg_stat_activity where application_name like $1 and pid <> pg_backend_pid()',
  (name) => [name],
)

beforeAll(async () => {
  database = await emptyDatabase()
  db = open(database.url)
  await createTable(db, null)
})

afterAll(async () => {
  await db.close()
  await database.drop()
})

describe('statements', () => {
  test('give rows, one row, exactly one row or a count', async () => {
    expect(await insert(db, { id: 1 })).toBe(1)
    expect(await byId(db, 1)).toMatchObject({ id: 1 })
    expect(await byId(db, 99)).toBeUndefined()
    expect(await all(db, null)).toEqual([{ id: 1, n: 1 }])
    await insert(db, { id: 2 })
    await expect(exactlyOne(db, null)).rejects.toThrow('test.exactly_one: expected exactly one row')
  })

  test('an int8 beyond 2^53 is refused and not rounded', async () => {
    await expect(big(db, null)).rejects.toThrow('int8 out of the safe range')
  })

  test('their name is the label of their metric and the key of the slow-query log; values stay out of it', async () => {
    await nap(db, null)
    expect(await metrics.registry.metrics()).toMatch(
      /db_statement_seconds_count\{.*statement="test.nap",ok="true".*\} 1/,
    )
    expect(captured.lines()).toContainEqual(
      expect.objectContaining({ statement: 'test.nap', msg: 'slow query' }),
    )
  })

  test('session settings hold on every connection, and time limits are always set', async () => {
    const forced = open(database.url, { enable_seqscan: 'off' })
    expect((await setting(forced, 'enable_seqscan')).value).toBe('off')
    expect((await setting(forced, 'idle_in_transaction_session_timeout')).value).toBe('10s')
    await forced.close()
  })
})

describe('transactions', () => {
  test('roll back as a whole when the work rejects, and the connection is good for the next one', async () => {
    const before = (await all(db, null)).length
    for (let round = 0; round < 5; round += 1)
      await expect(
        db.transaction(async (tx) => {
          await insert(tx, { id: 100 })
          throw new Error('no')
        }),
      ).rejects.toThrow('no')
    expect(await all(db, null)).toHaveLength(before)
  })

  test('a unique violation is told by the name of its constraint', async () => {
    const failure = await insert(db, { id: 1 }).catch((error: unknown) => error)
    expect(violatesUnique(failure, 'thing_key')).toBe(true)
    expect(violatesUnique(failure, 'other')).toBe(false)
  })
})

describe('a database that goes away', () => {
  test('is the problem database_unavailable, says nothing of the server, and is over when the server is back', async () => {
    const nowhere = open('postgres://user:hunter2@127.0.0.1:1/none')
    const failure = await all(nowhere, null).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'database_unavailable', status: 503 })
    expect((failure as Error).message).not.toMatch(/127|hunter2|ECONN/)
    await expect(nowhere.transaction(async () => 1)).rejects.toMatchObject({ code: 'database_unavailable' })
    await nowhere.close()
  })

  test('connections killed while idle and inside a transaction do not end the process', async () => {
    await all(db, null)
    const admin = createDb({
      url: database.url,
      applicationName: 'killer',
      poolSize: 1,
      slowQueryMs: 9_999,
      log: captured.log,
      metrics,
      role: 'login',
    })
    await killAll(admin, 'db test%')
    await vi.waitFor(() => all(db, null))
    const interrupted = db.transaction(async (tx) => {
      await insert(tx, { id: 500 })
      await killAll(admin, 'db test%')
      await insert(tx, { id: 501 })
    })
    await expect(interrupted).rejects.toMatchObject({ code: 'database_unavailable' })
    expect(await vi.waitFor(() => byId(db, 500))).toBeUndefined()
    await admin.close()
  })
})

/** A server that lets everybody in and ends the connection in the same breath (PostgreSQL protocol 3.0, §54.7). */
async function dyingServer(): Promise<{ readonly url: string; close(): void }> {
  const message = (type: string, body: Buffer | string) => {
    const head = Buffer.alloc(5, type)
    head.writeInt32BE(4 + Buffer.byteLength(body), 1)
    return Buffer.concat([head, Buffer.from(body)])
  }
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      const fatal = 'SFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0'
      socket.end(Buffer.concat([message('R', Buffer.alloc(4)), message('Z', 'I'), message('E', fatal)]))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { url: `postgres://somebody@127.0.0.1:${port}/any`, close: () => server.close() }
}

// Found by torture/: the worker was ended by an 'error' event that nobody listened to, between the pool's hands and ours.
test('a new connection that the server ends as it opens ends the transaction, not the process', async () => {
  const server = await dyingServer()
  const dying = open(server.url)
  await expect(dying.transaction(async () => 1)).rejects.toMatchObject({ code: 'database_unavailable' })
  await expect(byId(dying, 1)).rejects.toMatchObject({ code: 'database_unavailable' })
  await dying.close()
  server.close()
})

describe('notifications', () => {
  test('reach every listener of the channel with their payload, and none of another channel', async () => {
    const hub = createNotifications({ url: database.url, applicationName: 'listener a', log: captured.log })
    const heard: (string | undefined)[] = []
    const other: unknown[] = []
    hub.listen('one', (payload) => heard.push(payload))
    hub.listen('two', (payload) => other.push(payload))
    await vi.waitFor(async () => {
      await notify(db, { channel: 'one', payload: 'x' })
      expect(heard).toContain('x')
    })
    // Once, as its channel began to be listened to.
    expect(other).toEqual([undefined])
    await hub.close()
  })

  test('what was sent before a channel is listened to is told as a gap, in the first connection and in a later one', async () => {
    const hub = createNotifications({ url: database.url, applicationName: 'listener c', log: captured.log })
    const early: unknown[] = []
    const late: unknown[] = []
    hub.listen('early', (payload) => early.push(payload))
    await notify(db, { channel: 'early', payload: 'into the void' })
    await vi.waitFor(() => expect(early).toEqual([undefined]))
    await notify(db, { channel: 'late', payload: 'into the void' })
    hub.listen('late', (payload) => late.push(payload))
    await vi.waitFor(() => expect(late).toEqual([undefined]))
    // A second handler of a channel misses nothing from here on.
    const second: unknown[] = []
    hub.listen('late', (payload) => second.push(payload))
    await notify(db, { channel: 'late', payload: 'heard' })
    await vi.waitFor(() => expect(second).toEqual(['heard']))
    expect([early, late]).toEqual([[undefined], [undefined, 'heard']])
    await hub.close()
  })

  test('after a lost connection listeners are told that they may have missed something, and hear again', async () => {
    const hub = createNotifications({ url: database.url, applicationName: 'listener b', log: captured.log })
    const heard: (string | undefined)[] = []
    const stop = hub.listen('three', (payload) => heard.push(payload))
    await vi.waitFor(async () => {
      await notify(db, { channel: 'three', payload: 'before' })
      expect(heard).toContain('before')
    })
    heard.length = 0
    await killAll(db, 'listener b%')
    await vi.waitFor(() => expect(heard).toContain(undefined), { timeout: 10_000 })
    await vi.waitFor(async () => {
      await notify(db, { channel: 'three', payload: 'after' })
      expect(heard).toContain('after')
    })
    stop()
    await hub.close()
  })
})
