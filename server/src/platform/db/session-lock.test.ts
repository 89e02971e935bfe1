import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { systemClock } from '../clock.ts'
import { holdSessionLock, type SessionLock } from './session-lock.ts'

const WITHIN = { timeout: 15_000, interval: 20 }

let database: TestDatabase
beforeAll(async () => {
  database = await testDatabase()
})
afterAll(() => database.drop())

const locks: SessionLock[] = []
let key = 0
afterEach(async () => {
  await Promise.all(locks.splice(0).map((lock) => lock.release()))
})

function hold(mode: 'alone' | 'shared', name: string) {
  const { log, lines } = capturedLog()
  const lock = holdSessionLock({
    ...{ url: database.url, applicationName: name, key: [9_000, key], mode, meaning: 'two at once' },
    ...{ log, clock: systemClock },
  })
  locks.push(lock)
  return { lock, warned: () => lines().filter(({ level }) => level === 'warn') }
}
const taken = ({ lock }: { lock: SessionLock }) => lock.takenWithin(WITHIN.timeout)

/** Ends a connection from outside, as a restart of Postgres does. */
async function cut(applicationName: string): Promise<void> {
  const admin = new Client({ connectionString: database.url })
  await admin.connect()
  await admin.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like $1 || ' at %'",
    [applicationName],
  )
  await admin.end()
}

describe('a lock of a session', () => {
  test('is held by one alone, who is named to the other, and goes over when it is released', async () => {
    key += 1
    const first = hold('alone', 'first')
    expect(await taken(first)).toBe(true)
    const second = hold('alone', 'second')
    expect(await second.lock.takenWithin(500)).toBe(false)
    expect(await second.lock.holders()).toEqual(['first at 127.0.0.1'])
    await first.lock.release()
    expect(await taken(second)).toBe(true)
    expect(second.warned()).toEqual([])
  })

  test('is shared by any number, and by nobody beside one that holds it alone', async () => {
    key += 1
    const sharing = [hold('shared', 'a'), hold('shared', 'b')]
    expect(await Promise.all(sharing.map(taken))).toEqual([true, true])
    const alone = hold('alone', 'c')
    expect(await alone.lock.takenWithin(500)).toBe(false)
    await Promise.all(sharing.map(({ lock }) => lock.release()))
    expect(await taken(alone)).toBe(true)
    expect(await hold('shared', 'd').lock.takenWithin(500)).toBe(false)
  })

  test('is taken again on a new connection', async () => {
    key += 1
    const first = hold('alone', 'first')
    expect(await taken(first)).toBe(true)
    await cut('first')
    await vi.waitFor(() => expect(first.lock.held).toBe(false), { ...WITHIN, interval: 1 })
    expect(await taken(first)).toBe(true)
    expect(first.warned()).toEqual([])
  })

  test('that went to another one meanwhile is complained of once', async () => {
    key += 1
    const first = hold('alone', 'first')
    expect(await taken(first)).toBe(true)
    const second = hold('alone', 'second')
    expect(await second.lock.takenWithin(300)).toBe(false)
    await vi.waitFor(async () => {
      if (first.lock.held) await cut('first')
      expect(second.lock.held).toBe(true)
    }, WITHIN)
    await vi.waitFor(() => expect(first.warned()).toMatchObject([{ msg: 'two at once' }]), WITHIN)
    expect(first.warned()[0]).toMatchObject({ held_by: ['second at 127.0.0.1'] })
  })

  test('of a database that is not there is not held, and its wait ends', async () => {
    const lock = holdSessionLock({
      ...{
        url: 'postgres://127.0.0.1:1/x',
        applicationName: 'x',
        key: [9_000, 0],
        mode: 'alone',
        meaning: 'x',
      },
      ...{ log: capturedLog().log, clock: systemClock },
    })
    locks.push(lock)
    expect(await lock.takenWithin(300)).toBe(false)
    await expect(lock.holders()).rejects.toThrow('no connection')
  })
})
