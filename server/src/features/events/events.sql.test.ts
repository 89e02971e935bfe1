import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { many, type Queryable, run, type Tx } from '../../platform/db/statement.ts'
import { appendEvents, type EventRecord } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { findNews } from './events.sql.ts'
import {
  decodePosition,
  type EventFilter,
  type EventPosition,
  encodePosition,
  endOfEvents,
  positionOf,
  readEvents,
  WINDOW,
} from './events.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await testDatabase({ poolSize: 12 })
})

afterAll(() => database.drop())

const append = (on: Queryable, tenantId: string, ...events: Partial<EventRecord>[]) =>
  appendEvents(on, {
    events: events.map((event) => ({ tenant_id: tenantId, type: 'test.happened', ...event })),
  })

const appendMany = run<{ tenantId: string; count: number }>(
  'test.append_many',
  `insert into event (tenant_id, type) select $1::uuid, 'common' from generate_series(1, $2::int)`,
  ({ tenantId, count }) => [tenantId, count],
)

/** An open transaction that has written one event and commits when told. */
async function openWriter(tenantId: string, type: string): Promise<{ commit(): Promise<void> }> {
  const written = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  const done = database.db.transaction(async (tx: Tx) => {
    await append(tx, tenantId, { type })
    written.resolve()
    await release.promise
  })
  await Promise.race([written.promise, done])
  return {
    commit: () => {
      release.resolve()
      return done
    },
  }
}

/** The reader that must not be built: a sequence is taken before the commit, so late commits fall behind it. */
const naiveRead = many<{ tenantId: string; seq: number }, { seq: number; type: string }>(
  'test.naive_read',
  'select seq, type from event where tenant_id = $1 and seq > $2 order by seq',
  ({ tenantId, seq }) => [tenantId, seq],
)

const read = (tenantId: string, after?: EventPosition, filter: EventFilter = {}, limit = 100) =>
  readEvents(database.db, { tenantId, filter, order: 'asc', after, limit })

/** Reads on from a position until `count` events have come. Transactions of other test files may hold back the horizon. */
async function readUntil(tenantId: string, count: number, after?: EventPosition, filter: EventFilter = {}) {
  const types: string[] = []
  let position = after
  await vi.waitFor(
    async () => {
      const slice = await read(tenantId, position, filter, 3)
      position = slice.position
      types.push(...slice.events.map(({ type }) => type))
      if (types.length < count) throw new Error(`${types.length} of ${count} events`)
    },
    { timeout: 20_000, interval: 5 },
  )
  return { types, position }
}

describe('reading beside writers that commit out of order', () => {
  test('an early event that commits late is read once and in order, where `seq > last` misses it', async () => {
    const tenantId = newId()
    const early = await openWriter(tenantId, 'early')
    await append(database.db, tenantId, { type: 'late' })

    const naive = { seen: [] as string[], last: 0 }
    const readNaively = async () => {
      for (const { seq, type } of await naiveRead(database.db, { tenantId, seq: naive.last })) {
        naive.last = seq
        naive.seen.push(type)
      }
    }
    await readNaively()
    const before = await read(tenantId)
    expect(before.events).toEqual([])

    await early.commit()
    await readNaively()
    const { types } = await readUntil(tenantId, 2, before.position)

    expect(naive.seen, 'the premise: this order of commits is one that loses events').toEqual(['late'])
    expect(types).toEqual(['early', 'late'])
  })

  test('ten writers that commit in reverse: every event once, whatever was read in between', async () => {
    const tenantId = newId()
    const names = Array.from({ length: 10 }, (_, at) => `writer.${at}`)
    const writers = []
    for (const name of names) writers.push(await openWriter(tenantId, name))
    const seen: string[] = []
    let position = await endOfEvents(database.db, tenantId)
    for (const writer of writers.reverse()) {
      await writer.commit()
      const slice = await read(tenantId, position)
      position = slice.position
      seen.push(...slice.events.map(({ type }) => type))
    }
    const rest = await readUntil(tenantId, names.length - seen.length, position)
    expect([...seen, ...rest.types]).toEqual(names)
    expect((await read(tenantId, rest.position)).events).toEqual([])
  })

  test('what is rolled back is never read', async () => {
    const tenantId = newId()
    const failed = database.db.transaction(async (tx) => {
      await append(tx, tenantId, { type: 'undone' })
      throw new Error('rolled back')
    })
    await expect(failed).rejects.toThrow('rolled back')
    await append(database.db, tenantId, { type: 'done' })
    expect((await readUntil(tenantId, 1)).types).toEqual(['done'])
  })
})

describe('a slice', () => {
  const tenantId = newId()
  const other = newId()
  const jobId = newId()
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'

  beforeAll(async () => {
    await append(
      database.db,
      tenantId,
      { type: 'job.queued', job_id: jobId, trace_id: traceId, connector: 'billing', data: { n: 1 } },
      { type: 'job.retried', job_id: jobId, trace_id: traceId, connector: 'billing', severity: 'warning' },
      { type: 'job.done', job_id: jobId, connector: 'mail', message: 'It went through.' },
      { type: 'webhook.received', trace_id: traceId },
      { type: 'job.queued' },
    )
    await append(database.db, other, {
      type: 'job.queued',
      job_id: jobId,
      trace_id: traceId,
      connector: 'billing',
    })
    await readUntil(tenantId, 5)
    await readUntil(other, 1)
  })

  test.each<[string, EventFilter, string[]]>([
    ['nothing', {}, ['job.queued', 'job.retried', 'job.done', 'webhook.received', 'job.queued']],
    ['type', { type: 'job.queued' }, ['job.queued', 'job.queued']],
    ['connector', { connector: 'billing' }, ['job.queued', 'job.retried']],
    ['severity', { severity: 'warning' }, ['job.retried']],
    ['trace', { traceId }, ['job.queued', 'job.retried', 'webhook.received']],
    ['job', { jobId }, ['job.queued', 'job.retried', 'job.done']],
    ['job and trace', { jobId, traceId }, ['job.queued', 'job.retried']],
    ['job and connector', { jobId, connector: 'mail' }, ['job.done']],
    ['trace and type', { traceId, type: 'webhook.received' }, ['webhook.received']],
    ['what nothing has', { type: 'never' }, []],
  ])(
    'filtered by %s holds what fits, of its tenant only, in both orders',
    async (_name, filter, expected) => {
      const rising = await read(tenantId, undefined, filter)
      expect(rising.events.map(({ type }) => type)).toEqual(expected)
      const falling = await readEvents(database.db, { tenantId, filter, order: 'desc', limit: 100 })
      expect(falling.events.map(({ type }) => type)).toEqual([...expected].reverse())
    },
  )

  test('carries every column', async () => {
    const [first] = (await read(tenantId, undefined, { connector: 'billing' })).events
    expect(first).toMatchObject({
      type: 'job.queued',
      severity: 'info',
      message: '',
      connector: 'billing',
      job_id: jobId,
      inbox_id: null,
      trace_id: traceId,
      data: { n: 1 },
    })
    expect(first?.at).toBeInstanceOf(Date)
  })

  test.each(['asc', 'desc'] as const)('of two at a time leads through the whole log, %s', async (order) => {
    const types: string[] = []
    let after: EventPosition | undefined
    let pages = 0
    for (let complete = false; !complete; pages += 1) {
      const slice = await readEvents(database.db, { tenantId, filter: {}, order, after, limit: 2 })
      types.push(...slice.events.map(({ type }) => type))
      after = slice.position
      complete = slice.complete
    }
    const expected = ['job.queued', 'job.retried', 'job.done', 'webhook.received', 'job.queued']
    expect(types).toEqual(order === 'asc' ? expected : expected.reverse())
    expect(pages).toBe(3)
  })

  test.each(['asc', 'desc'] as const)(
    'looks at a bounded part of the log when no index serves the filter, %s',
    async (order) => {
      const large = newId()
      await append(database.db, large, { type: 'rare' })
      await appendMany(database.db, { tenantId: large, count: WINDOW })
      await append(database.db, large, { type: 'rare' })
      await vi.waitFor(async () => {
        const [newest] = (
          await readEvents(database.db, { tenantId: large, filter: {}, order: 'desc', limit: 1 })
        ).events
        expect(newest?.type).toBe('rare')
      })
      const query = { tenantId: large, filter: { type: 'rare' }, order, limit: 10 }
      const first = await readEvents(database.db, query)
      expect(first).toMatchObject({ complete: false, events: [{ type: 'rare' }] })
      const second = await readEvents(database.db, { ...query, after: first.position })
      expect(second).toMatchObject({ complete: true, events: [{ type: 'rare' }] })
      expect(second.events[0]?.seq).not.toBe(first.events[0]?.seq)
    },
  )

  test('that is complete leaves off at the horizon: a quiet filter does not scan the log again', async () => {
    const quiet = await read(tenantId, undefined, { type: 'never' })
    const end = await endOfEvents(database.db, tenantId)
    expect(BigInt(quiet.position.xid)).toBeGreaterThan(0n)
    expect(BigInt(quiet.position.xid)).toBeLessThanOrEqual(BigInt(end.xid))
    expect((await read(tenantId, quiet.position)).events).toEqual([])
  })
})

describe('a position', () => {
  test('survives its opaque text, beyond 2^53 as well', () => {
    for (const position of [
      { xid: '0', seq: 0 },
      { xid: '9007199254740993', seq: 9_007_199_254_740_991 },
    ])
      expect(decodePosition(encodePosition(position))).toEqual(position)
  })

  test.each([
    '',
    'x',
    'null',
    ...[
      ['1'],
      ['1', '1'],
      [1, 1],
      ['-1', 1],
      ['01', 1],
      ['1', -1],
      ['1', 1.5],
      ['9223372036854775808', 1],
      ['1', 1, 1],
    ].map((parts) => Buffer.from(JSON.stringify(parts)).toString('base64url')),
  ])('is refused when it is not one of ours: %s', (text) => {
    expect(() => decodePosition(text)).toThrow(Problem)
  })

  test('of another log, beyond the horizon, is refused instead of waiting for ever', async () => {
    await expect(read(newId(), { xid: '4611686018427387904', seq: 1 })).rejects.toMatchObject({
      code: 'validation_error',
    })
  })

  test('of an event is where the next read goes on', async () => {
    const tenantId = newId()
    await append(database.db, tenantId, { type: 'one' }, { type: 'two' })
    await readUntil(tenantId, 2)
    const [first] = (await read(tenantId)).events
    const next = first && (await read(tenantId, positionOf(first)))
    expect(next?.events.map(({ type }) => type)).toEqual(['two'])
  })
})

describe('news', () => {
  test('are reported for the tenants that have some, and once', async () => {
    const [busy, quiet] = [newId(), newId()]
    const { horizon: start } = await findNews(database.db, { since: new Map() })
    await append(database.db, busy, {})
    const since = new Map([
      [busy, start],
      [quiet, start],
    ])
    const found = await vi.waitFor(async () => {
      const news = await findNews(database.db, { since })
      expect(news.tenants).toEqual([busy])
      return news
    })
    const again = new Map([[busy, found.horizon]])
    expect((await findNews(database.db, { since: again })).tenants).toEqual([])
  })
})
