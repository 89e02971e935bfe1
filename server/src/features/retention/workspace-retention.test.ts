import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { closeOldDays, dayAgo, idOfDay, oldDaysOf, openDays } from '../../../testing/old-days.ts'
import { type QueueFixture, queueFixture } from '../../../testing/queue-fixture.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { systemClock } from '../../platform/clock.ts'
import { listAudit } from '../audit/audit.ts'
import { createWorkspace } from '../workspaces/workspaces.ts'
import { createRetentionRun, type KeepDays, previewRun, retentionOf, setRetention } from './retention.ts'

const HUB: KeepDays = {
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
const TABLES = [
  'job',
  'job_payload',
  'job_attempt',
  'webhook_inbox',
  'webhook_payload',
  'event',
  'request_log',
]

let fixture: QueueFixture
let keeper: string
let other: string
beforeAll(async () => {
  fixture = await queueFixture()
  keeper = await workspace('keeper-dev')
  other = await workspace('other-dev')
})
beforeEach(() => openDays(fixture.owner, TABLES, [dayAgo(20), dayAgo(40), dayAgo(60)]))
afterEach(async () => {
  await query('truncate workspace_retention, retention_trim')
  await closeOldDays(fixture.owner, TABLES)
})
afterAll(() => fixture.drop())

const deps = () => ({ db: fixture.db, environment: 'dev' as const })
const workspace = async (slug: string): Promise<string> =>
  (await createWorkspace(deps(), { slug, name: slug }, CHANGE)).id
const query = async (text: string, values: readonly unknown[] = []) =>
  (await fixture.owner.execute<Record<string, unknown>>({ name: '', text }, values)).rows

const keep = (id: string, days: Parameters<typeof setRetention>[1]['days']) =>
  setRetention({ db: fixture.db, workspaces: deps(), hub: HUB }, { id, days }, CHANGE)

const run = async () => {
  const { db, log, metrics } = fixture.platform
  return createRetentionRun(
    { db, log, metrics, clock: { ...systemClock, sleep: async () => undefined } },
    HUB,
  )()
}

const event = (tenantId: string, day: string) =>
  query(
    `insert into event (tenant_id, at, type, message) values ($1, ($2::date + interval '12 hours') at time zone 'UTC', 't', 'm')`,
    [tenantId, day],
  )
const events = async (tenantId: string) =>
  (
    await query(
      `select to_char(at at time zone 'UTC', 'YYYY-MM-DD') as day from event
       where tenant_id = $1 and type = 't' order by 1`,
      [tenantId],
    )
  ).map(({ day }) => day)

async function job(
  tenantId: string,
  day: string,
  state: 'queued' | 'done',
  endedDaysAgo = 20,
): Promise<string> {
  const id = idOfDay(day)
  await query(
    `with payload as (insert into job_payload (tenant_id, job_id, input, metadata) values ($1, $2, '1', '{}'))
     insert into job (tenant_id, id, queue, lane, priority, connector, operation, config_version, created_by, request_id,
                      correlation_id, trace_id, traceparent, state, finished_at)
     values ($1, $2, 2, 1, 2, 'crm', 'op', 1, 'svc:t', 'r', 'c', 't', '', $3,
             case when $3 = 'done' then now() - make_interval(days => $4) end)`,
    [tenantId, id, state, endedDaysAgo],
  )
  return id
}
const jobs = async (tenantId: string) =>
  (await query('select id from job where tenant_id = $1 order by id', [tenantId])).map(({ id }) => id)

describe('a workspace that keeps longer than the hub', () => {
  it('holds the day for itself alone: what others have in it goes', async () => {
    await keep(keeper, { events: 50 })
    for (const tenantId of [keeper, other])
      for (const day of [dayAgo(20), dayAgo(40), dayAgo(60)]) await event(tenantId, day)
    const { rows } = await run()
    expect(await oldDaysOf(fixture.db, 'event')).toEqual([dayAgo(40), dayAgo(20)])
    expect(await events(keeper)).toEqual([dayAgo(40), dayAgo(20)])
    expect(await events(other)).toEqual([dayAgo(20)])
    expect(rows.get('events')).toBe(1)
  })

  it('lets the day go when it does not say so any more', async () => {
    await keep(keeper, { events: 50 })
    await event(keeper, dayAgo(40))
    await run()
    await keep(keeper, { events: null })
    await run()
    expect(await oldDaysOf(fixture.db, 'event')).toEqual([dayAgo(20)])
  })
})

describe('a workspace that keeps less than the hub', () => {
  it('loses its rows of days that stay, and nobody else does', async () => {
    await keep(keeper, { events: 10 })
    for (const tenantId of [keeper, other]) await event(tenantId, dayAgo(20))
    await run()
    expect(await events(keeper)).toEqual([])
    expect(await events(other)).toEqual([dayAgo(20)])
  })

  it('keeps jobs that are not over or have ended since, with what belongs to them', async () => {
    await keep(keeper, { jobs: 5 })
    await keep(other, { jobs: 3_650 })
    const [old, late, open] = [
      await job(keeper, dayAgo(20), 'done', 10),
      await job(keeper, dayAgo(20), 'done', 2),
      await job(keeper, dayAgo(20), 'queued'),
    ]
    const theirs = await job(other, dayAgo(20), 'done', 19)
    await run()
    expect((await jobs(keeper)).toSorted()).toEqual([late, open].toSorted())
    expect(await jobs(other)).toEqual([theirs])
    const payloads = await query('select job_id from job_payload where tenant_id = $1', [keeper])
    expect(payloads.map(({ job_id }) => job_id).toSorted()).toEqual([late, open].toSorted())
    expect(payloads).not.toContainEqual({ job_id: old })
    // The day is not done with: it is looked at again when the open job is over.
    const [seen] = await query(
      `select done_until from retention_trim where tenant_id = $1 and subject = 'jobs'`,
      [keeper],
    )
    expect(seen?.done_until).not.toEqual(expect.stringContaining(dayAgo(20)))
    await query(
      `update job set state = 'done', finished_at = now() - interval '6 days' where id = any ($1)`,
      [[late, open]],
    )
    await query(`update retention_trim set looked_at = now() - interval '1 day'`)
    await run()
    expect(await jobs(keeper)).toEqual([])
  })

  it('keeps held events of its inbox, and those whose delivery is not over', async () => {
    await keep(keeper, { webhook_inbox: 5 })
    const receive = async (state: 'ignored' | 'held' | 'accepted', jobId: string | null) => {
      const id = idOfDay(dayAgo(20))
      await query(
        `with payload as (
           insert into webhook_payload (tenant_id, id, body, sha256, headers) values ($1, $2, 'x', sha256('x'), '{}'))
         insert into webhook_inbox (tenant_id, id, route_id, provider, livemode, event_id, event_type, occurred_at, state,
                                    held_why, connector, job_id, size, request_id, correlation_id, trace_id)
         values ($1, $2, $2, 'stripe', false, 'e', 'paid', now(), $3::text,
                 case when $3::text = 'held' then 'route_paused' end, 'product', $4, 1, 'r', 'c', 't')`,
        [keeper, id, state, jobId],
      )
      return id
    }
    const open = await job(keeper, dayAgo(20), 'queued')
    await query(
      `insert into job_deferred (tenant_id, job_id, run_at, queue, lane, priority, attempt, cause)
       values ($1, $2, now(), 1, 1, 2, 2, 'retry')`,
      [keeper, open],
    )
    const done = await job(keeper, dayAgo(20), 'done')
    await receive('ignored', null)
    await receive('accepted', done)
    const kept = [await receive('held', null), await receive('accepted', open)]
    await run()
    for (const table of ['webhook_inbox', 'webhook_payload']) {
      const rows = await query(`select id from ${table} where tenant_id = $1`, [keeper])
      expect(rows.map(({ id }) => id).toSorted()).toEqual(kept.toSorted())
    }
    await query('delete from job_deferred')
  })

  it('has dead letters binned in its own time', async () => {
    const { binOldLetters } = await import('../../queue/old-letters.ts')
    await keep(keeper, { dead_letters: 10 })
    await keep(other, { dead_letters: 200 })
    const letter = (tenantId: string, days: number) =>
      query(
        `insert into job_dead (tenant_id, job_id, queue, lane, connector, operation, dead_at, reason, attempts, error_class, error_message)
         values ($1, gen_random_uuid(), 2, 1, 'crm', 'op', now() - make_interval(days => $2), 'x', 1, 'x', 'x')`,
        [tenantId, days],
      )
    for (const tenantId of [keeper, other]) for (const days of [5, 20, 100]) await letter(tenantId, days)
    expect(await binOldLetters(fixture.db, { days: 90, limit: 100 })).toBe(2)
    expect(await query('select tenant_id from job_dead where binned')).toEqual([
      { tenant_id: keeper },
      { tenant_id: keeper },
    ])
    await query('delete from job_dead')
  })
})

describe('a day that is held', () => {
  it('stays for what holds it alone: what other workspaces have in it goes in its time', async () => {
    const open = await job(keeper, dayAgo(40), 'queued')
    const theirs = await job(other, dayAgo(40), 'done', 39)
    const preview = await previewRun(fixture.db, HUB)
    expect(preview.rows).toContainEqual({ tenantId: other, subject: 'jobs', day: dayAgo(40), rows: 1 })
    await run()
    expect(await oldDaysOf(fixture.db, 'job')).toContain(dayAgo(40))
    expect(await jobs(keeper)).toEqual([open])
    expect(await jobs(other)).not.toContain(theirs)
  })
})

describe('a preview', () => {
  it('says what a run would remove and why the rest stays, and removes nothing', async () => {
    await keep(keeper, { events: 10 })
    await event(keeper, dayAgo(20))
    await event(other, dayAgo(40))
    await job(other, dayAgo(60), 'queued')
    const before = await query('select count(*) from event')
    const preview = await previewRun(fixture.db, HUB)
    const eventDays = preview.days.filter(({ tables }) => tables.includes('event'))
    expect(eventDays.map(({ day, heldBy }) => [day, heldBy])).toEqual([
      [dayAgo(60), null],
      [dayAgo(40), null],
    ])
    expect(eventDays[1]?.bytes).toBeGreaterThan(0)
    expect(preview.days).toContainEqual(
      expect.objectContaining({
        tables: ['job', 'job_payload', 'job_attempt'],
        day: dayAgo(60),
        heldBy: 'unfinished jobs',
      }),
    )
    expect(preview.rows).toContainEqual({ tenantId: keeper, subject: 'events', day: dayAgo(20), rows: 1 })
    expect(await query('select count(*) from event')).toEqual(before)
    expect(await query('select * from retention_trim')).toEqual([])
  })
})

describe('the days of a workspace', () => {
  it('are those of the hub until it says something else, which is in its audit log', async () => {
    expect(await retentionOf(fixture.db, keeper, HUB)).toContainEqual({
      subject: 'jobs',
      days: 14,
      own: false,
    })
    await keep(keeper, { jobs: 60, audit: 400 })
    await keep(keeper, { audit: null })
    expect(await retentionOf(fixture.db, keeper, HUB)).toEqual([
      { subject: 'jobs', days: 60, own: true },
      ...['dead_letters', 'events', 'request_log', 'webhook_inbox', 'quarantine', 'audit'].map((subject) => ({
        ...{ subject, own: false },
        days: HUB[subject as keyof KeepDays],
      })),
    ])
    const [last, first] = await listAudit(fixture.db, { tenantId: keeper, limit: 2 })
    expect(first).toMatchObject({
      action: 'workspace.retention_changed',
      diff: [
        { path: '/retention/jobs', before: 14, after: 60 },
        { path: '/retention/audit', before: 365, after: 400 },
      ],
    })
    expect(last).toMatchObject({ diff: [{ path: '/retention/audit', before: 400, after: 365 }] })
  })

  it('are refused for a workspace that is not there', async () => {
    await expect(keep('0199aaaa-0000-7000-8000-000000000000', { jobs: 3 })).rejects.toMatchObject({
      code: 'not_found',
    })
  })
})
