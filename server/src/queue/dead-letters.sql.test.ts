import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { deadJob as buried, SHOP_DOWN } from '../../testing/dead-letters.ts'
import {
  claimLane,
  eventsOf,
  misplacedJobs,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  silence,
  whereIs,
} from '../../testing/queue-fixture.ts'
import { many, one, run } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { cancelJob } from './cancel.ts'
import {
  countDeadLetters,
  emptyBin,
  type LetterAction,
  type LetterFilter,
  listDeadLetters,
  listFailureGroups,
  pickDeadLetters,
  pickNamedLetters,
  purgeLetters,
  replayLetters,
  restoreLetters,
  whereaboutsOf,
} from './dead-letters.ts'
import { enqueueJobs } from './enqueue.ts'
import type { ClaimedJob, NewJob } from './job.ts'
import { findJob } from './read.ts'
import { RESCUE_LIMITS, rescue } from './rescue.ts'
import { settleJobs } from './settle.ts'

let fixture: QueueFixture
let nodeId: string
beforeAll(async () => {
  fixture = await queueFixture()
  nodeId = await registerNode(fixture.db)
})
afterAll(() => fixture.drop())

const FAILED = SHOP_DOWN
const WAIT = { timeout: 10_000, interval: 10 }

async function claimOne(job: NewJob | ClaimedJob, node = nodeId): Promise<ClaimedJob> {
  const { jobs } = await claimLane(fixture.claimDb, node, job, 1)
  const [first] = jobs
  if (!first) throw new Error('nothing to claim')
  return first.job
}

const settleDead = (job: ClaimedJob) =>
  settleJobs(fixture.claimDb, [
    { job, outcome: { kind: 'dead', reason: 'attempts_spent', error: FAILED, why: 'It was given up.' } },
  ])

const deadJob = (
  job: Partial<NewJob> & { readonly tenantId: string },
  error = FAILED,
  reason = 'attempts_spent',
) => buried(fixture, job, { error, reason })

const actionOn = (tenantId: string, ...ids: string[]): LetterAction => ({
  tenantId,
  ids,
  actor: 'svc:ops',
  why: 'the shop is back',
  planId: newId(),
})
const replay = (tenantId: string, ids: readonly string[], newEffect = false) =>
  fixture.db.transaction((tx) => replayLetters(tx, { ...actionOn(tenantId, ...ids), newEffect }))
const purge = (tenantId: string, ...ids: string[]) =>
  fixture.db.transaction((tx) => purgeLetters(tx, actionOn(tenantId, ...ids)))
const restore = (tenantId: string, ...ids: string[]) =>
  fixture.db.transaction((tx) => restoreLetters(tx, actionOn(tenantId, ...ids)))

const scope = (tenantId: string, filter: LetterFilter = {}, binned = false) =>
  ({ tenantId, queue: 'default', binned, filter }) as const
const listed = async (tenantId: string, filter?: LetterFilter, binned?: boolean) =>
  (await listDeadLetters(fixture.db, { ...scope(tenantId, filter, binned), limit: 100 })).map(({ id }) => id)
const later = () => new Date(Date.now() + 60_000)

describe('lists', () => {
  test('newest first, in pages without gap or repetition, also for letters of the same moment', async () => {
    const tenantId = newId()
    const ids: string[] = []
    for (let n = 0; n < 7; n += 1) ids.push((await deadJob({ tenantId })).id)
    await sameMoment(fixture.db, { tenantId })
    const seen: string[] = []
    for (let before: Parameters<typeof listDeadLetters>[1]['before']; ; ) {
      const page = await listDeadLetters(fixture.db, { ...scope(tenantId), before, limit: 3 })
      seen.push(...page.map(({ id }) => id))
      before = page.at(-1)?.key
      if (page.length < 3) break
    }
    expect(seen).toEqual(ids.sort().reverse())
  })

  test('each filter alone finds exactly its letters; other queues and workspaces are never among them', async () => {
    const tenantId = newId()
    const crm = await deadJob({ tenantId })
    const mail = await deadJob(
      { tenantId, connector: 'mail', operation: 'send' },
      { class: 'timeout', message: 'No answer in 10 s.' },
      'poison',
    )
    await deadJob({ tenantId, queue: 'webhook' })
    await deadJob({ tenantId: newId() })
    const [letter] = await listDeadLetters(fixture.db, { ...scope(tenantId), limit: 1 })
    if (!letter) throw new Error('no letter')
    expect(letter).toMatchObject({
      id: mail.id,
      connector: 'mail',
      operation: 'send',
      reason: 'poison',
      attempts: 1,
      replays: 0,
      purgedAt: null,
      error: { class: 'timeout', message: 'No answer in 10 s.' },
      correlationId: 'cor-1',
    })
    for (const filter of [
      { connector: 'mail' },
      { operation: 'send' },
      { reason: 'poison' },
      { errorClass: 'timeout' },
      { fingerprint: letter.fingerprint },
      { deadAfter: letter.deadAt },
    ])
      expect(await listed(tenantId, filter), JSON.stringify(filter)).toEqual([mail.id])
    expect(await listed(tenantId, { deadBefore: letter.deadAt })).toEqual([crm.id])
    expect(await listed(tenantId, { connector: 'mail', reason: 'attempts_spent' })).toEqual([])
    expect(await listed(tenantId)).toEqual([mail.id, crm.id])
  })

  test('the fingerprint leaves out what differs between failures of one kind, and nothing else', async () => {
    const tenantId = newId()
    const same = [
      'Order 4711 of "Ada" at 10.0.0.1:8080 (ada@example.org) failed after 12 ms: 9f1c2d7e-aa00-4b7c-8d11-0a0b0c0d0e0f.',
      'Order ord_88aX of "Bob B." at 10.0.0.22:80 (bob@example.net) failed after 7 ms: 00000000-0000-4000-8000-000000000000.',
    ]
    for (const message of same) await deadJob({ tenantId }, { ...FAILED, message })
    await deadJob({ tenantId }, { ...FAILED, message: 'The order failed.' })
    await deadJob({ tenantId }, { ...FAILED, message: 'The order failed.', httpStatus: 500 })
    await deadJob({ tenantId }, { ...FAILED, message: 'The order failed.', class: 'other' })
    await deadJob({ tenantId, connector: 'mail' }, { ...FAILED, message: 'The order failed.' })
    await deadJob({ tenantId, operation: 'send' }, { ...FAILED, message: 'The order failed.' })
    const groups = await listFailureGroups(fixture.db, { ...scope(tenantId), limit: 100 })
    expect(groups.map(({ letters }) => letters)).toEqual([1, 1, 1, 1, 1, 2])
    const [newest] = groups
    const oldest = groups.at(-1)
    expect(newest).toMatchObject({ connector: 'crm', operation: 'send', error: { httpStatus: 503 } })
    expect(oldest?.error.message).toBe(same[1])
    expect(oldest?.firstAt.getTime()).toBeLessThan(oldest?.lastAt.getTime() ?? 0)
    expect(await listed(tenantId, { fingerprint: oldest?.fingerprint })).toHaveLength(2)
  })

  test('groups come in pages, with a filter as well', async () => {
    const tenantId = newId()
    for (const connector of ['a', 'b', 'c'])
      for (const reason of ['attempts_spent', 'poison'])
        await deadJob({ tenantId, connector }, FAILED, reason)
    const filter = { reason: 'poison' }
    const first = await listFailureGroups(fixture.db, { ...scope(tenantId, filter), limit: 2 })
    const rest = await listFailureGroups(fixture.db, {
      ...scope(tenantId, filter),
      before: first.at(-1)?.key,
      limit: 2,
    })
    expect([...first, ...rest].map(({ connector, letters }) => [connector, letters])).toEqual([
      ['c', 1],
      ['b', 1],
      ['a', 1],
    ])
  })

  test('any message can be fingerprinted', async () => {
    const tenantId = newId()
    for (const message of [
      `${'x'.repeat(2_000)}`,
      '"'.repeat(501),
      '@'.repeat(900),
      '½ ٣ 😀 \\ % é\n\t',
      ' ',
    ])
      await deadJob({ tenantId }, { ...FAILED, message })
    expect(await listFailureGroups(fixture.db, { ...scope(tenantId), limit: 100 })).toHaveLength(5)
  })
})

describe('replay', () => {
  test('a new life: attempts from 1, history kept, same key, lowest priority, an event that says who and why', async () => {
    const tenantId = newId()
    const dead = await deadJob({ tenantId, priority: 1, idempotencyKey: 'order-7' })
    expect(await replay(tenantId, [dead.id])).toEqual([{ id: dead.id, queue: 'default', tenantId, lane: 1 }])
    expect(await whereIs(fixture.db, dead)).toEqual({
      state: 'queued',
      ready: 1,
      run: 0,
      deferred: 0,
      dead: 0,
    })
    const waiting = await findJob(fixture.db, dead)
    expect(waiting?.job).toMatchObject({
      state: 'queued',
      attempts: 0,
      replays: 1,
      priority: 4,
      finishedAt: null,
    })
    expect(waiting?.attempts).toHaveLength(1)
    const event = (await eventsOf(fixture.db, dead)).at(-1)
    expect(event).toMatchObject({
      type: 'job.replayed',
      message: 'Replayed by svc:ops: the shop is back',
      data: {
        actor: 'svc:ops',
        reason: 'the shop is back',
        replay: 1,
        new_effect: false,
        idempotency_key: 'order-7',
      },
    })

    const again = await claimOne(dead)
    expect(again).toMatchObject({ id: dead.id, attempt: 1, idempotencyKey: 'order-7' })
    expect(again.leaseId).toBeGreaterThan(dead.leaseId)
    await settleJobs(fixture.claimDb, [{ job: again, outcome: { kind: 'done', result: 1, why: 'done' } }])
    const done = await findJob(fixture.db, dead)
    expect(done?.job).toMatchObject({ state: 'done', attempts: 1, result: 1 })
    expect(done?.attempts.map(({ outcome }) => outcome)).toEqual(['dead', 'done'])
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })

  test('a job that dies again is a letter again, with its replays counted', async () => {
    const tenantId = newId()
    const dead = await deadJob({ tenantId })
    for (const replays of [1, 2]) {
      await replay(tenantId, [dead.id])
      await settleDead(await claimOne(dead))
      const [letter] = await listDeadLetters(fixture.db, { ...scope(tenantId), limit: 10 })
      expect(letter).toMatchObject({ id: dead.id, replays, attempts: 1 })
    }
  })

  test('a new effect gets a new key each time, which stays over the attempts of that life', async () => {
    const tenantId = newId()
    const dead = await deadJob({ tenantId })
    const keys = [dead.idempotencyKey]
    for (const _ of [1, 2]) {
      await replay(tenantId, [dead.id], true)
      const again = await claimOne(dead)
      const event = (await eventsOf(fixture.db, dead)).findLast(({ type }) => type === 'job.replayed')
      expect(event?.data).toMatchObject({ new_effect: true, idempotency_key: again.idempotencyKey })
      expect(event?.message).toContain('its effect may happen once more')
      keys.push(again.idempotencyKey)
      await settleDead(again)
    }
    await replay(tenantId, [dead.id])
    expect((await claimOne(dead)).idempotencyKey).toBe(keys.at(-1))
    expect(new Set(keys).size).toBe(3)
  })

  test('lifts the moment by which a job had to start: who replays it wants it to run', async () => {
    const tenantId = newId()
    const dead = await deadJob({ tenantId })
    await expired(fixture.db, dead)
    await replay(tenantId, [dead.id])
    expect(await claimOne(dead)).toMatchObject({ id: dead.id, attempt: 1 })
  })

  test('many at once become ready in the order given', async () => {
    const tenantId = newId()
    const ids: string[] = []
    for (let n = 0; n < 5; n += 1) ids.unshift((await deadJob({ tenantId })).id)
    await replay(tenantId, ids)
    expect((await readyJobs(fixture.db, { tenantId })).map(({ job_id }) => job_id)).toEqual(ids)
  })

  test('of two replays at the same time one wins, and the letter is replayed once', async () => {
    const tenantId = newId()
    const dead = await deadJob({ tenantId })
    let second: Promise<unknown[]> | undefined
    const first = await fixture.db.transaction(async (tx) => {
      const lives = await replayLetters(tx, { ...actionOn(tenantId, dead.id), newEffect: false })
      second = replay(tenantId, [dead.id])
      await vi.waitFor(async () => expect((await lockWaits(fixture.db, undefined)).waiting).toBe(1), WAIT)
      return lives
    })
    expect([first.length, (await second)?.length]).toEqual([1, 0])
    expect((await eventsOf(fixture.db, dead)).filter(({ type }) => type === 'job.replayed')).toHaveLength(1)
    expect(await whereIs(fixture.db, dead)).toMatchObject({ ready: 1, dead: 0 })
  })

  test('a worker that still holds a lease of the life before changes nothing', async () => {
    const tenantId = newId()
    const dead = await deadJob({ tenantId })
    await replay(tenantId, [dead.id])
    const again = await claimOne(dead)
    expect(await settleDead(dead)).toEqual([])
    expect(await whereIs(fixture.db, dead)).toMatchObject({ state: 'queued', run: 1, dead: 0 })
    expect(await settleDead(again)).toHaveLength(1)
  })

  test('poison is counted per life: a replayed job may lose as many workers as a fresh one', async () => {
    const tenantId = newId()
    const job = sampleJob({ tenantId })
    await enqueueJobs(fixture.db, [job])
    const loseIt = async () => {
      const victim = await registerNode(fixture.db)
      await makeReady(fixture.db, { tenantId })
      await claimOne(job, victim)
      await silence(fixture.db, { nodeId: victim })
      return rescue(fixture.claimDb, { limits: RESCUE_LIMITS, log: fixture.platform.log })
    }
    for (const _ of [1, 2, 3]) await loseIt()
    expect(await listed(tenantId, { reason: 'poison' })).toEqual([job.id])
    await replay(tenantId, [job.id])
    expect(await loseIt()).toMatchObject({ retried: 1, dead: 0 })
    expect((await findJob(fixture.db, job))?.job).toMatchObject({ state: 'retrying', attempts: 1 })
    expect(await loseIt()).toMatchObject({ retried: 1, dead: 0 })
    expect(await loseIt()).toMatchObject({ retried: 0, dead: 1 })
    expect(await listed(tenantId, { reason: 'poison' })).toEqual([job.id])
  })

  test('a replayed job that is cancelled while it waits counts only the attempts of this life', async () => {
    const tenantId = newId()
    const job = sampleJob({ tenantId })
    await enqueueJobs(fixture.db, [job])
    const retry = { kind: 'retry', delayMs: 0, error: FAILED, why: 'retry' } as const
    await settleJobs(fixture.claimDb, [{ job: await claimOne(job), outcome: retry }])
    await makeReady(fixture.db, { tenantId })
    await settleDead(await claimOne(job))
    await replay(tenantId, [job.id])
    expect((await findJob(fixture.db, job))?.job).toMatchObject({ state: 'queued', attempts: 0 })
    expect(await cancelJob(fixture.db, { tenantId, id: job.id, actor: 'ada' })).toMatchObject({
      state: 'cancelled',
    })
    expect((await findJob(fixture.db, job))?.job).toMatchObject({ state: 'cancelled', attempts: 0 })
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })

  test('leaves alone what is no dead letter: done, running, purged, unknown, of another workspace', async () => {
    const tenantId = newId()
    const [purged, other] = [await deadJob({ tenantId }), await deadJob({ tenantId: newId() })]
    await purge(tenantId, purged.id)
    const running = sampleJob({ tenantId })
    await enqueueJobs(fixture.db, [running])
    await claimOne(running)
    expect(await replay(tenantId, [purged.id, other.id, running.id, newId()])).toEqual([])
    expect(await whereIs(fixture.db, other)).toMatchObject({ state: 'dead', dead: 1 })
    expect(await whereIs(fixture.db, running)).toMatchObject({ state: 'queued', run: 1, ready: 0 })
  })
})

describe('the bin', () => {
  test('takes letters out of the lists and gives them back; each move once, with an event', async () => {
    const tenantId = newId()
    const dead = await deadJob({ tenantId })
    expect(await purge(tenantId, dead.id)).toEqual([dead.id])
    expect(await purge(tenantId, dead.id)).toEqual([])
    expect(await listed(tenantId)).toEqual([])
    expect(await listed(tenantId, {}, true)).toEqual([dead.id])
    expect(await listFailureGroups(fixture.db, { ...scope(tenantId), limit: 10 })).toEqual([])
    expect(await restore(tenantId, dead.id)).toEqual([dead.id])
    expect(await restore(tenantId, dead.id)).toEqual([])
    expect(await listed(tenantId)).toEqual([dead.id])
    const told = await eventsOf(fixture.db, dead)
    expect(told.slice(-2)).toMatchObject([
      { type: 'job.purged', message: 'Moved to the bin by svc:ops: the shop is back' },
      { type: 'job.restored', message: 'Restored from the bin by svc:ops: the shop is back' },
    ])
    expect(await replay(tenantId, [dead.id])).toHaveLength(1)
  })

  test('of a purge and a replay at the same time one wins', async () => {
    const tenantId = newId()
    const pickedFor = (id: string, act: typeof purgeLetters) =>
      fixture.db.transaction(async (tx) => {
        const args = { tenantId, queue: 'default', binned: false, ids: [id] } as const
        const letters = await pickNamedLetters(tx, args)
        return act(tx, actionOn(tenantId, ...letters.map((letter) => letter.id)))
      })
    const replayed: typeof purgeLetters = async (tx, action) =>
      (await replayLetters(tx, { ...action, newEffect: false })).map((job) => job.id)
    for (let n = 0; n < 10; n += 1) {
      const { id } = await deadJob({ tenantId, lane: n })
      const moved = await Promise.all([pickedFor(id, replayed), pickedFor(id, purgeLetters)])
      expect(moved.flat()).toEqual([id])
    }
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })

  test('is emptied of what has lain in it for too long; the job stays in the history', async () => {
    const tenantId = newId()
    const [old, young, letter] = [
      await deadJob({ tenantId }),
      await deadJob({ tenantId }),
      await deadJob({ tenantId }),
    ]
    await purge(tenantId, old.id, young.id)
    await purgedLongAgo(fixture.db, { tenantId, id: old.id })
    expect(await emptyBin(fixture.db, { days: 14, limit: 100 })).toBe(1)
    expect(await emptyBin(fixture.db, { days: 14, limit: 100 })).toBe(0)
    expect(await listed(tenantId, {}, true)).toEqual([young.id])
    expect(await listed(tenantId)).toEqual([letter.id])
    expect((await findJob(fixture.db, old))?.job).toMatchObject({ state: 'dead' })
    expect((await eventsOf(fixture.db, old)).at(-1)).toMatchObject({
      type: 'job.removed_from_bin',
      message: 'Removed for good: it had been in the bin for 14 days.',
    })
    const { correlationId: correlation_id, traceId: trace_id } = old.call
    expect(await callsOf(fixture.db, old)).toEqual([{ correlation_id, trace_id }])
    const ids = [old.id, young.id, letter.id, newId()]
    const places = await whereaboutsOf(fixture.db, tenantId, ids)
    expect(ids.map((id) => places.get(id)?.place)).toEqual(['removed', 'bin', 'dead_letter', undefined])
  })
})

const callsOf = many<{ readonly id: string }, { readonly correlation_id: string; readonly trace_id: string }>(
  'test.calls_of',
  'select distinct correlation_id, trace_id from event where job_id = $1',
  ({ id }) => [id],
)

describe('letters of a plan', () => {
  test('are those that were there at its moment, oldest first, a batch behind the other', async () => {
    const tenantId = newId()
    const ids: string[] = []
    for (let n = 0; n < 5; n += 1) ids.push((await deadJob({ tenantId })).id)
    const cutoff = new Date()
    await died(fixture.db, { id: (await deadJob({ tenantId })).id, at: later() })
    const args = { ...scope(tenantId), cutoff: new Date(cutoff.getTime() + 1) }
    expect(await countDeadLetters(fixture.db, args)).toEqual({ letters: 5, oldest: expect.any(Date) })
    const seen = await fixture.db.transaction(async (tx) => {
      const first = await pickDeadLetters(tx, { ...args, after: undefined, limit: 3 })
      const rest = await pickDeadLetters(tx, { ...args, after: first.at(-1)?.key, limit: 3 })
      return [...first, ...rest]
    })
    expect(seen.map(({ id }) => id)).toEqual(ids)
    expect(seen.every(({ kept }) => kept)).toBe(true)
  })

  test('say when the history of their job is no longer kept; they cannot be replayed, but purged', async () => {
    const tenantId = newId()
    const dead = await deadJob({ tenantId })
    await forget(fixture.db, dead)
    const args = { tenantId, queue: 'default', binned: false, ids: [dead.id] } as const
    const [picked] = await fixture.db.transaction((tx) => pickNamedLetters(tx, args))
    expect(picked).toMatchObject({ id: dead.id, kept: false, correlationId: null })
    expect(await replay(tenantId, [dead.id])).toEqual([])
    expect(await purge(tenantId, dead.id)).toEqual([dead.id])
  })
})

interface Ref {
  readonly tenantId: string
  readonly id: string
}

const sameMoment = run<{ readonly tenantId: string }>(
  'test.same_moment',
  `update job_dead set dead_at = '2026-11-20 12:00:00.123456Z' where tenant_id = $1`,
  ({ tenantId }) => [tenantId],
)
const died = run<{ readonly id: string; readonly at: Date }>(
  'test.died',
  'update job_dead set dead_at = $2 where job_id = $1',
  ({ id, at }) => [id, at],
)
const purgedLongAgo = run<Ref>(
  'test.purged_long_ago',
  `update job_dead set purged_at = purged_at - interval '14 days 1 minute' where tenant_id = $1 and job_id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)
/** Transactions of this database that wait for another one. */
const lockWaits = one<undefined, { readonly waiting: number }>(
  'test.lock_waits',
  `select count(*) as waiting from pg_stat_activity
   where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0`,
  () => [],
)
const expired = run<Ref>(
  'test.expired',
  `update job set expires_at = clock_timestamp() - interval '1 hour' where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)
const forget = run<Ref>(
  'test.forget',
  'delete from job where tenant_id = $1 and id = $2',
  ({ tenantId, id }) => [tenantId, id],
)
const makeReady = run<{ readonly tenantId: string }>(
  'test.make_ready',
  `with gone as (delete from job_deferred where tenant_id = $1 returning *)
   insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
   select queue, tenant_id, lane, priority, job_id, attempt from gone`,
  ({ tenantId }) => [tenantId],
)
const readyJobs = many<{ readonly tenantId: string }, { readonly job_id: string }>(
  'test.ready_jobs',
  'select job_id from job_ready where tenant_id = $1 order by seq',
  ({ tenantId }) => [tenantId],
)
