import { createHash } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { newId } from '../../platform/ids.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { findContents, keepRow, listRows, type NewRow, removeExpired, usedRoom } from './quarantine.sql.ts'

const ROOM = { keepDays: 7, maxRows: 100_000, maxBytes: 268_435_456 }
let database: TestDatabase

beforeAll(async () => {
  database = await testDatabase()
})
afterAll(() => database.drop())
beforeEach(() => write('delete from quarantine'))

const write = async (text: string, values: readonly unknown[] = []) => {
  await database.owner.execute({ name: '', text }, values)
}

let number = 0
/** One that nothing has verified, with bytes of its own. */
function row(change: Partial<NewRow> = {}): NewRow {
  number += 1
  const body = change.body ?? Buffer.from(`body ${number}`)
  return {
    ...{ tenantId: NO_WORKSPACE, id: newId(), becauseOf: NO_WORKSPACE, provider: 'stripe', pathRoute: null },
    ...{ routeId: null, reason: 'signature_mismatch', authentic: false, sealed: false, accounts: [] },
    ...{ livemode: null, events: [], requestId: 'r', correlationId: 'c', traceId: 't' },
    copy: { at: number, url: null, headers: { 'stripe-signature': [`signature ${number}`] } },
    ...change,
    body,
    sha256: createHash('sha256').update(body).digest(),
  }
}

const keep = async (change: Partial<NewRow> = {}, room: Partial<typeof ROOM> = {}) =>
  (await keepRow(database.db, { ...row(change), ...ROOM, ...room })).outcome
const all = (tenantId = NO_WORKSPACE) => listRows(database.db, { tenantId, limit: 1_000 })

/** What a count of the rows would say. */
async function counted() {
  const { rows } = await database.owner.execute<{ authentic: boolean; rows: number; bytes: number }>(
    {
      name: '',
      text: `select authentic, count(*) as rows, sum(room)::bigint as bytes from quarantine group by authentic`,
    },
    [],
  )
  return rows
}
const used = async () => (await usedRoom(database.db, {})).filter(({ rows }) => rows > 0)

test('the same bytes to the same path are one row, with the first copy and the last four', async () => {
  const body = Buffer.from('the same')
  expect(await keep({ body })).toBe('kept')
  for (let time = 0; time < 6; time += 1) expect(await keep({ body })).toBe('repeated')
  const [one, ...more] = await all()
  expect(more).toEqual([])
  expect(one?.seen).toBe(7)
  const { copies } = (await findContents(database.db, { tenantId: NO_WORKSPACE, id: one?.id ?? '' })) ?? {}
  const first = number - 6
  expect(copies?.map(({ at }) => at)).toEqual([first, first + 3, first + 4, first + 5, first + 6])
})

test('other bytes, another path, provider or owner are rows of their own', async () => {
  const body = Buffer.from('the same')
  const others = [{}, { pathRoute: 'x' }, { provider: 'github' }, { tenantId: newId() }]
  for (const change of others) expect(await keep({ body, ...change })).toBe('kept')
  expect(await keep()).toBe('kept')
})

test('a copy that a secret verifies makes the row authentic, and no other copy takes its place', async () => {
  const body = Buffer.from('the same')
  await keep({ body })
  expect(await keep({ body, authentic: true, reason: 'account_mismatch' })).toBe('repeated')
  const verified = number
  for (let time = 0; time < 6; time += 1) await keep({ body })
  const [one] = await all()
  expect(one).toMatchObject({ authentic: true, reason: 'account_mismatch', seen: 8 })
  const { copies } = (await findContents(database.db, { tenantId: NO_WORKSPACE, id: one?.id ?? '' })) ?? {}
  expect(copies?.at(-1)?.at).toBe(verified)
  expect(await used()).toEqual(await counted())
})

test('the room is what a count would say, whatever happens to the rows', async () => {
  const tenantId = newId()
  await keep({
    tenantId,
    becauseOf: tenantId,
    events: [{ id: 'e', type: 't', accounts: [], livemode: null, reason: 'r' }],
  })
  await keep({ authentic: true })
  const body = Buffer.from('twice')
  await keep({ body })
  await keep({ body })
  expect(await used()).toEqual(await counted())
  await write(
    `update quarantine set state = 'discarded', body = null, copies = null, room = 0, ended_at = now(),
                 ended_by = 'x', ended_why = 'x' where tenant_id = $1`,
    [tenantId],
  )
  expect(await used()).toEqual(await counted())
  await write('delete from quarantine where authentic')
  expect(await used()).toEqual(await counted())
})

test('what nothing has verified gets three quarters of the rows, the rest is for what a secret has verified', async () => {
  const room = { maxRows: 8 }
  for (let count = 0; count < 6; count += 1) expect(await keep({}, room)).toBe('kept')
  expect(await keep({}, room)).toBe('full')
  expect(await keep({ authentic: true }, room)).toBe('kept')
  expect(await keep({ authentic: true }, room)).toBe('kept')
  expect(await keep({ authentic: true }, room)).toBe('full')
})

test('and three quarters of the bytes', async () => {
  const room = { maxBytes: 8_000 }
  const body = () => Buffer.alloc(5_000, String(number))
  expect(await keep({ body: body() }, room)).toBe('kept')
  expect(await keep({ body: Buffer.alloc(1_500) }, room)).toBe('full')
  expect(await keep({ body: Buffer.alloc(1_500), authentic: true }, room)).toBe('kept')
  expect(await keep({ body: Buffer.alloc(1_600), authentic: true }, room)).toBe('full')
})

test('one workspace is the cause of a quarter at most, verified or not', async () => {
  const room = { maxRows: 8 }
  const [tenantId, other] = [newId(), newId()]
  expect(await keep({ tenantId, becauseOf: tenantId }, room)).toBe('kept')
  expect(await keep({ becauseOf: tenantId, authentic: true }, room)).toBe('kept')
  expect(await keep({ becauseOf: tenantId, authentic: true }, room)).toBe('full')
  expect(await keep({ becauseOf: other, authentic: true }, room)).toBe('kept')
})

test('a repetition in a full quarantine is counted and adds nothing', async () => {
  const body = Buffer.alloc(900)
  await keep({ body })
  const before = await used()
  expect(await keep({ body }, { maxBytes: 1_000 })).toBe('repeated')
  expect((await all())[0]?.seen).toBe(2)
  expect(await used()).toEqual(before)
})

test('many at once stay within the room', async () => {
  const outcomes = await Promise.all(Array.from({ length: 30 }, () => keep({}, { maxRows: 8 })))
  expect(outcomes.filter((outcome) => outcome === 'kept')).toHaveLength(6)
  expect(await used()).toEqual(await counted())
})

test('what has expired goes in batches, in whatever state, and comes again as something new', async () => {
  const body = Buffer.from('late')
  await keep({ body })
  await keep()
  await keep()
  await write("update quarantine set expires_at = now() - interval '1 second'")
  await keep()
  expect((await all()).map(({ expired }) => expired)).toEqual([false, true, true, true])
  // Before a worker has come by: a new row with a new time.
  expect(await keep({ body })).toBe('kept')
  expect(await removeExpired(database.db, { limit: 1 })).toEqual([
    { provider: 'stripe', state: 'kept', rows: 1 },
  ])
  expect(await removeExpired(database.db, { limit: 10 })).toEqual([
    { provider: 'stripe', state: 'kept', rows: 1 },
  ])
  expect(await removeExpired(database.db, { limit: 10 })).toEqual([])
  expect(await all()).toHaveLength(2)
  expect(await used()).toEqual(await counted())
})

test('a workspace keeps it as long as it says itself; fewer days take what is older, too', async () => {
  const tenantId = newId()
  const own = (days: number) =>
    write(
      `insert into workspace_retention (tenant_id, subject, days) values ($1, 'quarantine', $2)
       on conflict (tenant_id, subject) do update set days = excluded.days`,
      [tenantId, days],
    )
  const daysLeft = async () => {
    const [row] = await all(tenantId)
    return Math.round(((row?.expires_at.getTime() ?? 0) - Date.now()) / 86_400_000)
  }
  await own(30)
  await keep({ tenantId })
  await keep()
  expect(await daysLeft()).toBe(30)
  await write(`update quarantine set received_at = received_at - interval '5 days'`)
  expect(await removeExpired(database.db, { limit: 10 })).toEqual([])
  await own(4)
  expect(await removeExpired(database.db, { limit: 10 })).toMatchObject([{ rows: 1 }])
  expect(await all(tenantId)).toEqual([])
  expect(await all()).toHaveLength(1)
})
