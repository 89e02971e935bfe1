/** Retention as whoever runs the database has it: what would go, that nothing went, and then that it went. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../server/testing/database.ts'
import { dayAgo, oldDaysOf, openDays } from '../server/testing/old-days.ts'
import { type HubHome, hubHome, runCli } from './hub-process.ts'

let database: TestDatabase
let home: HubHome
beforeAll(async () => {
  database = await testDatabase()
  home = await hubHome({ DATABASE_URL: database.url })
})
afterAll(async () => {
  await home.remove()
  await database.drop()
})

const retention = (...args: string[]) => runCli(home, 'retention', ...args)
const days = () => oldDaysOf(database.db, 'event')

test('a dry run names days and sizes and changes nothing; a run drops them', async () => {
  await openDays(database.owner, ['event'], [dayAgo(20), dayAgo(40)])
  const dry = await retention('run', '--dry-run')
  expect(dry).toMatchObject({ code: 0, stderr: '' })
  expect(dry.stdout).toMatch(new RegExp(`^drop {2}${dayAgo(40)} {2}event {2}\\d+\\.\\d MiB$`, 'm'))
  expect(dry.stdout).toMatch(/^1 days to drop .*Nothing was changed\.$/m)
  expect(await days()).toEqual([dayAgo(40), dayAgo(20)])
  expect(await retention('run')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(`dropped ${dayAgo(40)}  event`),
  })
  expect(await days()).toEqual([dayAgo(20)])
})

test.each([
  [['run', '--dry'], /Unknown option|Usage/],
  [['walk'], /Usage: orchestrator retention run \[--dry-run\]/],
])('refuses %j', async (args, message) => {
  const { code, stderr } = await retention(...args)
  expect([code, stderr]).toEqual([1, expect.stringMatching(message)])
})

test('with the embedded database it says who runs it', async () => {
  const { code, stderr } = await runCli(home.with({ DATABASE_URL: '' }), 'retention', 'run')
  expect([code, stderr]).toEqual([1, expect.stringMatching(/by itself, each hour/)])
})
