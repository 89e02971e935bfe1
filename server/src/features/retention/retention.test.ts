import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type TestDatabase, testDatabase, testPlatform } from '../../../testing/database.ts'
import { type ManualClock, manualClock } from '../../../testing/manual-clock.ts'
import { dayAgo, oldDaysOf, openDays } from '../../../testing/old-days.ts'
import type { Platform } from '../../platform/platform.ts'
import { retentionRules } from './retention.ts'
import { createRetentionWork } from './retention.worker.ts'

const KEEP = {
  ...{
    jobs: 14,
    dead_letters: 90,
    events: 30,
    request_log: 30,
    webhook_inbox: 30,
    quarantine: 7,
    audit: 365,
  },
}
const WAIT = { timeout: 10_000, interval: 10 }

let clock: ManualClock
let database: TestDatabase
/** The platform of a second worker. */
let other: Platform
beforeAll(async () => {
  clock = manualClock()
  database = await testDatabase({ clock })
  other = testPlatform(database.url, { clock })
})
afterAll(async () => {
  await other.notifications.close()
  await other.db.close()
  await database.drop()
})

test('every table that is partitioned by the day has one rule', async () => {
  const { rows } = await database.db.execute<{ name: string }>(
    { name: '', text: 'select name from partitioned_table order by name' },
    [],
  )
  const ruled = retentionRules(KEEP).flatMap(({ tables }) => tables)
  expect(ruled.toSorted()).toEqual(rows.map(({ name }) => name))
})

test('one of the workers drops what is old, at its start and then each hour; another one goes on after it', async () => {
  const { db } = database
  const days = async () => [...(await oldDaysOf(db, 'event')), ...(await oldDaysOf(db, 'job'))]
  await openDays(database.owner, ['event', 'job'], [dayAgo(20), dayAgo(40)])
  const first = createRetentionWork(database.platform, KEEP)
  first.start()
  await vi.waitFor(async () => expect(await days()).toEqual([dayAgo(20)]), WAIT)

  await openDays(database.owner, ['event'], [dayAgo(50)])
  const second = createRetentionWork(other, KEEP)
  second.start()
  await clock.whenSleeping(2)
  await clock.advance(3_540_000)
  await clock.whenSleeping(2)
  expect(await days()).toEqual([dayAgo(50), dayAgo(20)])
  await clock.advance(60_000)
  await vi.waitFor(async () => expect(await days()).toEqual([dayAgo(20)]), WAIT)

  await first.stop()
  await db.execute({ name: '', text: 'update leader set expires_at = clock_timestamp()' }, [])
  await openDays(database.owner, ['event'], [dayAgo(50)])
  await clock.whenSleeping()
  await clock.advance(60_000)
  await vi.waitFor(async () => expect(await days()).toEqual([dayAgo(20)]), WAIT)
  await second.stop()
})
