import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { newId } from '../../platform/ids.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { keepRow, type NewRow } from './keep.sql.ts'
import { findContents, listRows, removeExpired, usedRoom } from './quarantine.sql.ts'

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
  }
}

const keepTold = (change: Partial<NewRow> = {}, room: Partial<typeof ROOM> = {}) =>
  keepRow(database.db, { ...row(change), ...ROOM, ...room })
const keep = async (...args: Parameters<typeof keepTold>) => (await keepTold(...args)).outcome
const all = (tenantId = NO_WORKSPACE) => listRows(database.db, { tenantId, limit: 1_000 })

/** What a count of the rows would say. */
async function counted() {
  const { rows } = await database.owner.execute<{ share: string; rows: number; bytes: number }>(
    {
      name: '',
      text: `select share, count(*) as rows, sum(room)::bigint as bytes from quarantine group by share order by share`,
    },
    [],
  )
  return rows
}
const used = async () =>
  (await usedRoom(database.db, {}))
    .filter(({ rows }) => rows > 0)
    .sort((one, other) => (one.share < other.share ? -1 : 1))

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

const newest = async (count: number, tenantId = NO_WORKSPACE) =>
  (await all(tenantId)).slice(0, count).map(({ id }) => id)
/** Four for what is verified, two for paths, one each for claims and nobody's. */
const EIGHT = { maxRows: 8 }

describe('the room', () => {
  test('what nothing has verified makes room for newer ones of its share, never for another share', async () => {
    const tenantId = newId()
    expect(await keepTold({}, EIGHT)).toEqual({ outcome: 'kept', evicted: 0 })
    await keep({ tenantId, becauseOf: tenantId }, { maxRows: 16 })
    await keep({ tenantId, becauseOf: tenantId, sealed: true }, { maxRows: 32 })
    await keep({ authentic: true }, EIGHT)
    const routed = await newest(3, tenantId)
    for (let count = 0; count < 5; count += 1)
      expect(await keepTold({}, EIGHT)).toEqual({ outcome: 'kept', evicted: 1 })
    expect(await newest(3, tenantId)).toEqual(routed)
    expect((await all()).map(({ authentic }) => authentic).sort()).toEqual([false, true])
    expect(await used()).toEqual(await counted())
  })

  test('what is verified makes no room for anything', async () => {
    for (let count = 0; count < 4; count += 1) expect(await keep({ authentic: true }, EIGHT)).toBe('kept')
    expect(await keepTold({ authentic: true }, EIGHT)).toEqual({ outcome: 'full', evicted: 0 })
    expect(await keep({}, EIGHT)).toBe('kept')
    expect(await all()).toHaveLength(5)
  })

  test('what a path names makes room only for others of its workspace', async () => {
    const [a, b] = [newId(), newId()]
    const room = { maxRows: 32 }
    for (let count = 0; count < 2; count += 1) await keep({ tenantId: b, becauseOf: b }, room)
    for (let count = 0; count < 9; count += 1) {
      const told = await keepTold({ tenantId: a, becauseOf: a }, room)
      expect(told).toEqual({ outcome: 'kept', evicted: count < 2 ? 0 : 1 })
    }
    expect([await all(a), await all(b)].map(({ length }) => length)).toEqual([2, 2])
    const others = Array.from({ length: 2 }, () => newId())
    for (const tenantId of others)
      for (let count = 0; count < 2; count += 1) await keep({ tenantId, becauseOf: tenantId }, room)
    // Four workspaces have taken all of it: a fifth takes nothing away from them.
    const c = newId()
    expect(await keep({ tenantId: c, becauseOf: c }, room)).toBe('full')
  })

  test('a claim may push out the oldest of another workspace when the share is full', async () => {
    const room = { maxRows: 32 }
    const claims = Array.from({ length: 5 }, () => newId())
    const outcomes = []
    for (const tenantId of claims)
      outcomes.push(await keepTold({ tenantId, becauseOf: tenantId, sealed: true }, room))
    expect(outcomes.map(({ evicted }) => evicted)).toEqual([0, 0, 0, 0, 1])
    const left = await Promise.all(claims.map((tenantId) => all(tenantId)))
    expect(left.map(({ length }) => length)).toEqual([0, 1, 1, 1, 1])
    expect(await used()).toEqual(await counted())
  })

  test('one workspace answers for a quarter of what is verified, whoever sees it', async () => {
    const [a, b] = [newId(), newId()]
    expect(await keep({ becauseOf: a, authentic: true }, EIGHT)).toBe('kept')
    expect(await keep({ becauseOf: a, authentic: true }, EIGHT)).toBe('full')
    expect(await keep({ tenantId: a, becauseOf: a, authentic: true }, EIGHT)).toBe('full')
    expect(await keep({ becauseOf: b, authentic: true }, EIGHT)).toBe('kept')
  })

  test('also when the bytes came without a signature first', async () => {
    const a = newId()
    const room = { maxBytes: 64_000 }
    const bodies = [1, 2, 3].map((fill) => Buffer.alloc(3_500, fill))
    for (const body of bodies) await keep({ body })
    const outcomes = []
    for (const body of bodies) outcomes.push(await keep({ body, authentic: true, becauseOf: a }, room))
    expect(outcomes).toEqual(['repeated', 'repeated', 'full'])
    expect((await all()).map(({ authentic }) => authentic)).toEqual([false, true, true])
    expect(await used()).toEqual(await counted())
  })

  test('a large one pushes out sixteen at most; when they are not enough, none', async () => {
    const room = { maxBytes: 80_000 }
    for (let count = 0; count < 20; count += 1) await keep({ body: Buffer.alloc(400, number) }, room)
    expect(await all()).toHaveLength(20)
    const ids = await newest(20)
    expect(await keepTold({ body: Buffer.alloc(9_500) }, room)).toEqual({ outcome: 'full', evicted: 0 })
    expect(await newest(20)).toEqual(ids)
    const { outcome, evicted } = await keepTold({ body: Buffer.alloc(5_000) }, room)
    expect(outcome).toBe('kept')
    expect(evicted).toBeLessThanOrEqual(16)
    // The oldest of them.
    expect((await newest(99)).slice(1)).toEqual(ids.slice(0, 20 - evicted))
    expect(await keep({ body: Buffer.alloc(11_000) }, room)).toBe('full')
    expect(await used()).toEqual(await counted())
  })

  test('what has ended goes before what is kept; what is on its way stays', async () => {
    const room = { maxRows: 24 }
    for (let count = 0; count < 3; count += 1) await keep({}, room)
    const [last, middle] = await newest(2)
    await write(
      `update quarantine set state = 'discarded', body = null, copies = null, room = 0, ended_at = now(),
         ended_by = 'x', ended_why = 'x' where id = $1`,
      [last],
    )
    // Nothing that anybody could still want.
    expect(await keepTold({}, room)).toEqual({ outcome: 'kept', evicted: 0 })
    expect((await all()).map(({ id }) => id)).not.toContain(last)
    await write(
      `update quarantine set state = 'releasing', targets = '[]', ended_at = now(), ended_by = 'x' where id <> $1`,
      [middle],
    )
    expect(await keep({}, room)).toBe('kept')
    expect((await all()).map(({ id }) => id)).not.toContain(middle)
  })

  test('smaller settings make it shrink, step by step', async () => {
    for (let count = 0; count < 30; count += 1) await keep()
    expect(await keep({}, EIGHT)).toBe('full')
    expect(await all()).toHaveLength(14)
    expect(await keep({}, EIGHT)).toBe('kept')
    expect(await all()).toHaveLength(1)
    expect(await used()).toEqual(await counted())
  })
})

test('a repetition in a full quarantine is counted and adds nothing', async () => {
  const body = Buffer.alloc(900)
  await keep({ body })
  const before = await used()
  expect(await keep({ body }, { maxBytes: 8_000 })).toBe('repeated')
  expect((await all())[0]?.seen).toBe(2)
  expect(await used()).toEqual(before)
})

test('many at once stay within the room', async () => {
  const outcomes = await Promise.all(Array.from({ length: 30 }, () => keep({}, { maxRows: 64 })))
  expect(outcomes.filter((outcome) => outcome === 'kept')).toHaveLength(30)
  expect(await all()).toHaveLength(8)
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
