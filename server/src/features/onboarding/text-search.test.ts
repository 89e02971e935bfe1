import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { systemClock } from '../../platform/clock.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { createWorkspace } from '../workspaces/workspaces.ts'
import { createSearchText, formsOf } from './text-search.ts'

let database: TestDatabase
let folder: string
/** Every character that some text writes in another way. */
const VALUE = 'pa"ss\\wörd/+ 4711?'
const needles = [{ name: 'token', value: new Secret(VALUE) }]
const tenants: string[] = []

beforeAll(async () => {
  database = await testDatabase()
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-search-'))
  for (const slug of ['searched-dev', 'other-dev'])
    tenants.push(
      (await createWorkspace({ db: database.db, environment: 'dev' }, { slug, name: slug }, CHANGE)).id,
    )
})
afterAll(async () => {
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

const search = (logFile?: string) => createSearchText({ db: database.db, clock: systemClock, logFile })

const tell = (tenantId: string, data: Record<string, unknown>) =>
  database.db.transaction((tx) =>
    appendEvents(tx, {
      events: [
        {
          tenant_id: tenantId,
          type: 'test.told',
          message: 'A test.',
          request_id: 'r',
          correlation_id: 'c',
          trace_id: 'a'.repeat(32),
          data,
        },
      ],
    }),
  )

test.each([
  ['as it is', VALUE],
  ['in JSON', JSON.stringify({ key: VALUE })],
  ['in JSON inside of JSON', JSON.stringify({ body: JSON.stringify({ key: VALUE }) })],
  ['in a URL', `https://example.com/?key=${encodeURIComponent(VALUE)}`],
  ['in hex, as bytes are shown', Buffer.from(`{"key":${JSON.stringify(VALUE)}}`).toString('hex')],
  ['in base64 of user and password', Buffer.from(`user:${VALUE}:x`).toString('base64')],
  ['in base64, one byte further', Buffer.from(`user1:${VALUE}`).toString('base64')],
  ['in base64, two bytes further', Buffer.from(`user12:${VALUE}`).toString('base64')],
])('a value is known again %s', (_where, text) => {
  expect(formsOf(VALUE).some((form) => text.includes(form))).toBe(true)
})

describe('the database', () => {
  test('a value in a partition is found in the workspace that has it, and only there', async () => {
    const [own = '', other = ''] = tenants
    expect(await search().database(own, needles)).toMatchObject({ hits: [], left: [] })
    await tell(own, { note: { deep: [`x ${VALUE} y`] } })
    const found = await search().database(own, needles)
    expect(found.hits).toEqual([{ name: 'token', place: expect.stringMatching(/^the table event_\d+$/) }])
    expect((await search().database(other, needles)).hits).toEqual([])
  })

  test('every row of a table that takes many batches is looked at', async () => {
    const tenantId = tenants[1] ?? ''
    for (let count = 0; count < 60; count += 1) await tell(tenantId, { filler: 'f'.repeat(8_000), at: count })
    await tell(tenantId, { last: VALUE, id: newId() })
    const { hits, looked } = await search().database(tenantId, needles)
    expect(hits).toHaveLength(1)
    expect(looked).toBeGreaterThan(60 * 8_000)
  })
})

describe('the log', () => {
  test('a value is found, also where it lies across two reads', async () => {
    const path = join(folder, 'hub.log')
    await writeFile(path, `${'x'.repeat(65_530)}${VALUE}\n`)
    const result = await search(path).log(needles)
    expect(result).toMatchObject({ hits: [{ name: 'token' }], left: [] })
  })

  test('a log elsewhere cannot be looked at, and one without the value is clean', async () => {
    expect(await search().log(needles)).toBeUndefined()
    expect(await search(join(folder, 'nothing.log')).log(needles)).toBeUndefined()
    const path = join(folder, 'clean.log')
    await writeFile(path, '{"msg":"nothing"}\n')
    expect((await search(path).log(needles))?.hits).toEqual([])
  })
})
