import { Client, type QueryResultRow } from 'pg'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../../testing/database.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { verifiedEvent } from '../../../../testing/webhook-intake.ts'
import type { Db } from '../../../platform/db/db.ts'
import type { LaneKey } from '../../../queue/job.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import { createIntake, type Intake, type IntakeDeps } from './take-webhook.ts'

let database: TestDatabase
let hub: WebhookHub
let tenantId: string
let route: WebhookRoute

beforeAll(async () => {
  database = await testDatabase()
  hub = webhookHub(database.platform)
  tenantId = await hub.workspace('a-dev')
  route = await hub.route(tenantId, { secret: 'whsec_a' })
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})

/** Of one process: what it asks of the database is counted, and can be kept waiting. */
function intakeOf(options: Partial<IntakeDeps> = {}) {
  const statements: string[] = []
  const lanes: LaneKey[] = []
  let gate: Promise<void> = Promise.resolve()
  const db: Db = {
    ...database.db,
    execute: async (statement, values) => {
      statements.push(statement.name)
      await gate
      return database.db.execute(statement, values)
    },
  }
  const intake: Intake = createIntake({
    db,
    payloads: hub.payloads,
    wakeUp: { hint: (more) => void lanes.push(...more) },
    ...options,
  })
  return {
    intake,
    lanes,
    statements,
    block: () => {
      let open = (): void => undefined
      gate = new Promise((resolve) => {
        open = resolve
      })
      return open
    },
  }
}

const one = async (intake: Intake, webhook = verifiedEvent(route)) =>
  (await intake.take([webhook]))[0] ?? expect.unreachable('it was not taken')

const inboxOf = async (id: string) =>
  (
    await hub.query<{ state: string; held_why: string | null; job_id: string | null }>(
      'select state, held_why, job_id from webhook_inbox where id = $1',
      [id],
    )
  )[0]

describe('a batch', () => {
  it('stores concurrent requests in few statements, each event once, and wakes the workers after it', async () => {
    const { intake, statements, lanes } = intakeOf()
    const events = Array.from({ length: 300 }, () => verifiedEvent(route))
    const answers = await Promise.all(events.map((event) => intake.take([event])))
    expect(new Set(answers.map(([answer]) => answer?.inboxId)).size).toBe(300)
    expect(answers.every(([answer]) => answer?.duplicate === false)).toBe(true)
    expect(statements.length).toBeLessThan(10)
    expect(lanes).toHaveLength(300)
  })

  it('tells copies in it apart: the first one counts, the others answer with its inbox id', async () => {
    const { intake, block, lanes } = intakeOf()
    const open = block()
    const first = verifiedEvent(route, { eventId: 'evt_same' })
    const other = verifiedEvent(route, { eventId: 'evt_other' })
    const taking = [first, first, other, first].map((event) => one(intake, event))
    open()
    const [a, b, c, d] = await Promise.all(taking)
    expect([a?.duplicate, b?.duplicate, c?.duplicate, d?.duplicate]).toEqual([false, true, false, true])
    expect(new Set([a, b, d].map((each) => each?.inboxId)).size).toBe(1)
    expect(lanes).toHaveLength(2)
    expect(
      await hub.query('select duplicates from webhook_dedupe where event_id = $1', ['evt_same']),
    ).toEqual([{ duplicates: 2 }])
  })

  it('keeps the bytes of each event with it', async () => {
    const { intake, block } = intakeOf()
    const open = block()
    const texts = ['', 'ä', '{"a":"\\u0000"}', 'x'.repeat(65_536)]
    const taking = texts.map((text) => one(intake, verifiedEvent(route, { bytes: Buffer.from(text) })))
    open()
    for (const [at, { inboxId }] of (await Promise.all(taking)).entries()) {
      const [row] = await hub.query<{ body: Buffer; fits: boolean; size: number }>(
        `select p.body, p.sha256 = sha256(p.body) as fits, i.size from webhook_payload p
         join webhook_inbox i on i.id = p.id where p.id = $1`,
        [inboxId],
      )
      expect(row?.body.toString()).toBe(texts[at])
      expect(row).toMatchObject({ fits: true, size: Buffer.byteLength(texts[at] ?? '') })
    }
  })

  it('that the database refuses is stored one by one, so that only the event at fault fails', async () => {
    const { intake, block } = intakeOf()
    const open = block()
    const bad = verifiedEvent(route)
    const atFault = { ...bad, call: { ...bad.call, requestId: 'no\u0000text' } }
    const taking = [verifiedEvent(route), atFault, verifiedEvent(route)].map((event) => intake.take([event]))
    open()
    const results = await Promise.allSettled(taking)
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })

  it('takes all events of a request or none', async () => {
    const { intake } = intakeOf()
    const bad = verifiedEvent(route)
    const before = await hub.stored()
    await expect(
      intake.take([verifiedEvent(route), { ...bad, call: { ...bad.call, requestId: '\u0000' } }]),
    ).rejects.toThrow()
    expect(await hub.stored()).toEqual(before)
    expect(await intake.take([verifiedEvent(route), verifiedEvent(route)])).toMatchObject([
      { duplicate: false },
      { duplicate: false },
    ])
  })

  it('of the same events in another order does not deadlock with its twin', async () => {
    const twins = [intakeOf().intake, intakeOf().intake]
    for (let round = 0; round < 5; round += 1) {
      const events = Array.from({ length: 60 }, () => verifiedEvent(route))
      const answers = await Promise.all(
        [events, events.toReversed()].flatMap((order, at) => order.map((event) => twins[at]?.take([event]))),
      )
      expect(answers.filter((answer) => answer?.[0]?.duplicate === false)).toHaveLength(60)
    }
  })

  it('1,000 copies of one event over two processes are one delivery', async () => {
    const twins = [intakeOf().intake, intakeOf().intake]
    const event = verifiedEvent(route)
    const answers = await Promise.all(Array.from({ length: 1_000 }, (_, at) => twins[at % 2]?.take([event])))
    const taken = answers.map((answer) => answer?.[0])
    expect(new Set(taken.map((each) => each?.inboxId)).size).toBe(1)
    expect(taken.filter((each) => each?.duplicate === false)).toHaveLength(1)
    expect(
      await hub.query('select count(*)::int as jobs from job where inbox_id = $1', [taken[0]?.inboxId]),
    ).toEqual([{ jobs: 1 }])
  })
})

describe('a route that has changed since the process looked', () => {
  it('takes nothing when it is gone, and the others of the batch are taken', async () => {
    const gone = await hub.route(tenantId, { secret: 'whsec_gone', account: 'acct_gone' })
    await hub.query('delete from webhook_route where id = $1', [gone.id])
    const { intake, block } = intakeOf()
    const open = block()
    const taking = [gone, route, gone].map((each) => intake.take([verifiedEvent(each)]))
    open()
    expect(await Promise.all(taking)).toMatchObject([[undefined], [{ duplicate: false }], [undefined]])
  })

  it('holds its events when it is paused, ordered or not', async () => {
    for (const ordering of [null, { key: '/customer', limitMs: 60_000 }]) {
      const paused = await hub.route(tenantId, { secret: 'whsec_p', account: `acct_p_${ordering}`, ordering })
      await hub.query(
        `update webhook_route set paused_at = now(), paused_by = 'ada', paused_why = 'a test' where id = $1`,
        [paused.id],
      )
      const { intake, lanes } = intakeOf()
      const { inboxId } = await one(intake, verifiedEvent(paused, { payload: { customer: 'c1' } }))
      expect(await inboxOf(inboxId)).toEqual({ state: 'held', held_why: 'route_paused', job_id: null })
      expect(lanes).toEqual([])
      expect(await hub.query('select 1 from job where inbox_id = $1', [inboxId])).toEqual([])
      expect(await hub.query('select type from event where inbox_id = $1', [inboxId])).toEqual([
        { type: 'webhook.held' },
      ])
    }
  })
})

describe('a database that fails in the middle of a batch', () => {
  it.each([
    ['because its disk is full', `raise exception 'no space left' using errcode = 'disk_full'`],
    ['because the connection is killed', 'perform pg_terminate_backend(pg_backend_pid())'],
    ['because the time is over', `raise exception 'too slow' using errcode = 'query_canceled'`],
  ])('%s stores nothing of it, and takes it when it comes again', async (_why, fault) => {
    await hub.query(`create or replace function fault() returns trigger language plpgsql
      as $$ begin ${fault}; return new; end $$`)
    await hub.query('create trigger fault before insert on job_payload for each row execute function fault()')
    const before = await hub.stored()
    const { intake, block, lanes } = intakeOf()
    const open = block()
    const events = [verifiedEvent(route), verifiedEvent(route), verifiedEvent(route)]
    const taking = events.map((event) => intake.take([event]))
    open()
    const results = await Promise.allSettled(taking)
    await hub.query('drop trigger fault on job_payload')
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    expect(await hub.stored()).toEqual(before)
    expect(lanes).toEqual([])
    for (const event of events) expect(await one(intake, event)).toMatchObject({ duplicate: false })
  })
})

describe('what waits for the database', () => {
  it.each([
    ['events', { maxWaiting: 2 }],
    ['bytes', { maxWaitingBytes: 200 }],
  ])('is bounded in %s', async (_what, limits) => {
    const { intake, block } = intakeOf(limits)
    const open = block()
    const bytes = Buffer.alloc(100, 0x20)
    const taking = [1, 2].map(() => one(intake, verifiedEvent(route, { bytes })))
    await expect(intake.take([verifiedEvent(route, { bytes })])).rejects.toMatchObject({
      code: 'webhook_unavailable',
      status: 503,
    })
    open()
    await Promise.all(taking)
    expect(await one(intake, verifiedEvent(route, { bytes }))).toMatchObject({ duplicate: false })
  })

  it('is answered before the process ends; nothing more is taken', async () => {
    const { intake, block } = intakeOf()
    const open = block()
    const taking = one(intake)
    await vi.waitFor(() => expect(intake).toBeDefined())
    const closing = intake.close()
    await expect(intake.take([verifiedEvent(route)])).rejects.toMatchObject({ code: 'shutting_down' })
    open()
    await closing
    expect(await taking).toMatchObject({ duplicate: false })
  })
})

it('puts a large body into the payload store, and its row commits with the event', async () => {
  const { intake } = intakeOf()
  const bytes = Buffer.alloc(100_000, 0x61)
  const webhook = verifiedEvent(route, { bytes })
  const { inboxId } = await one(intake, webhook)
  const [row] = await hub.query<{ body: Buffer | null; payload_id: string; fits: boolean }>(
    `select p.body, p.payload_id, p.sha256 = sha256($2) as fits from webhook_payload p where id = $1`,
    [inboxId, bytes],
  )
  expect(row).toMatchObject({ body: null, fits: true })
  expect((await hub.payloads.read(tenantId, row?.payload_id ?? '')).equals(bytes)).toBe(true)
  expect(await hub.payloads.findOf(tenantId, { kind: 'webhook', id: inboxId })).toMatchObject({
    size: 100_000,
  })
})

describe('a copy of an event with a large body', () => {
  const LARGE = Buffer.alloc(100_000, 0x61)
  const objects = async () =>
    hub.query<{ rows: number; leaving: number }>(
      'select (select count(*)::int from payload) as rows, (select count(*)::int from payload_erasure) as leaving',
    )

  it('puts nothing into the store: who repeats a request does not fill it', async () => {
    const webhook = verifiedEvent(route, { bytes: LARGE })
    const { inboxId } = await one(intakeOf().intake, webhook)
    const before = await objects()
    const payloads = { ...hub.payloads, keep: () => expect.unreachable('it was put into the store') }
    expect(await one(intakeOf({ payloads }).intake, webhook)).toEqual({ inboxId, duplicate: true })
    expect(await objects()).toEqual(before)
  })

  it('that arrives with the first one leaves no object without a row', async () => {
    // Nobody goes on before all have looked for the key and put their bytes.
    const all = Promise.withResolvers<void>()
    let put = 0
    const keep: typeof hub.payloads.keep = async (...args) => {
      const kept = await hub.payloads.keep(...args)
      put += 1
      if (put === 4) all.resolve()
      await all.promise
      return kept
    }
    const { intake } = intakeOf({ payloads: { ...hub.payloads, keep } })
    const webhook = verifiedEvent(route, { bytes: LARGE })
    const [before] = await objects()
    const answers = await Promise.all([1, 2, 3, 4].map(() => one(intake, webhook)))
    expect(answers.filter(({ duplicate }) => !duplicate)).toHaveLength(1)
    const [after] = await objects()
    expect(after).toEqual({ rows: (before?.rows ?? 0) + 1, leaving: (before?.leaving ?? 0) + 3 })
  })
})

describe('a flood of copies', () => {
  const about = async (inboxId: string) => {
    const [row] = await hub.query<{ told: { data: { duplicates: number } }[]; duplicates: number }>(
      `select (select coalesce(json_agg(json_build_object('data', data) order by seq), '[]')
               from event where inbox_id = $1 and type = 'webhook.duplicate') as told,
              (select duplicates from webhook_dedupe where inbox_id = $1) as duplicates`,
      [inboxId],
    )
    return { told: row?.told.map(({ data }) => data.duplicates), duplicates: row?.duplicates }
  }

  it('is counted, and told of at the first copy and then once a minute, with the count', async () => {
    const { intake } = intakeOf()
    const webhook = verifiedEvent(route)
    const { inboxId } = await one(intake, webhook)
    expect(await about(inboxId)).toEqual({ told: [], duplicates: 0 })
    await one(intake, webhook)
    expect(await about(inboxId)).toEqual({ told: [1], duplicates: 1 })
    for (let at = 0; at < 20; at += 1) await one(intake, webhook)
    await Promise.all(Array.from({ length: 200 }, () => one(intake, webhook)))
    expect(await about(inboxId)).toEqual({ told: [1], duplicates: 221 })
    await hub.query(`update webhook_dedupe set told_at = told_at - interval '1 minute' where inbox_id = $1`, [
      inboxId,
    ])
    await Promise.all(Array.from({ length: 50 }, () => one(intake, webhook)))
    const { told, duplicates } = await about(inboxId)
    expect([told?.length, told?.[0], duplicates]).toEqual([2, 1, 271])
  })

  it('that comes in the batch of the first one is told of once, too', async () => {
    const { intake, block } = intakeOf()
    const open = block()
    const webhook = verifiedEvent(route)
    const taking = Array.from({ length: 30 }, () => one(intake, webhook))
    open()
    const [first] = await Promise.all(taking)
    expect((await about(first?.inboxId ?? '')).duplicates).toBe(29)
    expect((await about(first?.inboxId ?? '')).told).toHaveLength(1)
  })

  it('adds no rows: its row is updated in its page, and no index hears of it', async () => {
    const client = new Client({ connectionString: database.url })
    await client.connect()
    try {
      const updates = async () => {
        // Of this connection alone: what the others have counted is told of some time later.
        await client.query('select pg_stat_force_next_flush()')
        const { rows } = await client.query<{ all: number; hot: number }>(
          `select n_tup_upd::int as all, n_tup_hot_upd::int as hot from pg_stat_user_tables where relname = 'webhook_dedupe'`,
        )
        return rows[0] ?? expect.unreachable()
      }
      const { intake } = intakeOf({
        db: {
          ...database.db,
          execute: <Row extends QueryResultRow>({ text }: { text: string }, values: readonly unknown[]) =>
            client.query<Row>(text, [...values]),
        },
      })
      const webhook = verifiedEvent(route)
      await one(intake, webhook)
      await one(intake, webhook)
      const [stored, before] = [await hub.stored(), await updates()]
      // One after the other: each is an update of its own.
      for (let at = 0; at < 500; at += 1) await one(intake, webhook)
      expect(await hub.stored()).toEqual(stored)
      const after = await updates()
      expect(after.all - before.all).toBeGreaterThanOrEqual(500)
      // Somebody who looks at the table meanwhile (autovacuum) keeps old versions in a page until it is full.
      expect((after.hot - before.hot) / (after.all - before.all)).toBeGreaterThan(0.9)
    } finally {
      await client.end()
    }
  })
})
