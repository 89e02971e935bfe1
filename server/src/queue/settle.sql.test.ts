import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import {
  claimLane,
  eventsOf,
  makeDue,
  misplacedJobs,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  silence,
  whereIs,
} from '../../testing/queue-fixture.ts'
import { one } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { cancelJob } from './cancel.ts'
import { claimJobs } from './claim.ts'
import { enqueueJobs } from './enqueue.ts'
import type { ClaimedJob, EndedJob, NewJob } from './job.ts'
import { createPromoter } from './promote.ts'
import { findJob } from './read.ts'
import { RESCUE_LIMITS, rescue } from './rescue.ts'
import { endedBy, type Settlement, settleJobs } from './settle.ts'

let fixture: QueueFixture
let nodeId: string
beforeAll(async () => {
  fixture = await queueFixture()
  nodeId = await registerNode(fixture.db)
})
afterAll(() => fixture.drop())

const error = { class: 'http_5xx', message: 'The shop answered 503.', httpStatus: 503 }
const outcomes = {
  done: { kind: 'done', result: { b: 1, a: 'nul \0' }, httpStatus: 201, why: 'The shop took it.' },
  retry: { kind: 'retry', delayMs: 60_000, error, why: 'It answers 503; the policy allows 3 more attempts.' },
  snooze: { kind: 'snooze', delayMs: 60_000, why: 'Retry-After 60 s honoured.' },
  dead: { kind: 'dead', reason: 'attempts_spent', error, why: 'All attempts are spent.' },
  cancelled: { kind: 'cancelled', why: 'Cancelled on request while it ran.' },
  returned: { kind: 'returned', why: 'The worker stops.' },
} as const satisfies Record<string, Settlement['outcome']>

async function enqueueAndClaim(job: Partial<NewJob> = {}, node = nodeId): Promise<ClaimedJob> {
  const fresh = sampleJob({ tenantId: newId(), ...job })
  await enqueueJobs(fixture.db, [fresh])
  return claimAgain(fresh, node)
}

async function claimAgain(job: NewJob | ClaimedJob, node = nodeId): Promise<ClaimedJob> {
  const { jobs } = await claimLane(fixture.claimDb, node, job, 1)
  const [first] = jobs
  if (!first) throw new Error('nothing to claim')
  return first.job
}

const lockWaits = one<undefined, { readonly waiting: number }>(
  'test.lock_waits',
  `select count(*) as waiting from pg_locks l join pg_database d on d.oid = l.database
   where l.locktype = 'advisory' and not l.granted and d.datname = current_database()`,
  () => [],
)

const rowWaits = one<undefined, { readonly waiting: number }>(
  'test.row_waits',
  `select count(*) as waiting from pg_stat_activity
   where datname = current_database() and wait_event in ('transactionid', 'tuple')`,
  () => [],
)

const promoteAll = async ({ tenantId }: ClaimedJob): Promise<void> => {
  await makeDue(fixture.db, { tenantId })
  await createPromoter(
    fixture.claimDb,
    () => undefined,
    () => performance.now(),
  )()
}
const settle = (...settlements: Settlement[]) => settleJobs(fixture.claimDb, settlements)
const types = async (id: string) => (await eventsOf(fixture.db, { id })).map(({ type }) => type)

describe('settleJobs', () => {
  test('a batch of every outcome: each job is where it belongs, with its attempt and an event that says why', async () => {
    const kinds = Object.keys(outcomes) as (keyof typeof outcomes)[]
    const jobs = await Promise.all(kinds.map(() => enqueueAndClaim()))
    const settled = await settle(
      ...kinds.flatMap((kind, index) => {
        const job = jobs[index]
        return job ? [{ job, outcome: outcomes[kind] }] : []
      }),
    )
    expect(settled).toHaveLength(kinds.length)

    const seen = await Promise.all(
      kinds.map(async (kind, index) => {
        const job = jobs[index]
        if (!job) throw new Error('no job')
        const place = await whereIs(fixture.db, job)
        const detail = await findJob(fixture.db, job)
        const event = (await eventsOf(fixture.db, job)).at(-1)
        return { kind, place, state: detail?.job.state, attempts: detail?.attempts, event }
      }),
    )
    const summary = seen.map(({ kind, place, state, attempts, event }) => [
      kind,
      state,
      [place.ready, place.run, place.deferred, place.dead].join(''),
      attempts?.map(({ outcome }) => outcome).join(),
      event?.type,
    ])
    expect(summary).toEqual([
      ['done', 'done', '0000', 'done', 'job.succeeded'],
      ['retry', 'retrying', '0010', 'retry', 'job.retry_scheduled'],
      ['snooze', 'scheduled', '0010', 'snoozed', 'job.snoozed'],
      ['dead', 'dead', '0001', 'dead', 'job.dead_lettered'],
      ['cancelled', 'cancelled', '0000', 'cancelled', 'job.cancelled'],
      ['returned', 'queued', '1000', 'returned', 'job.returned'],
    ])
    for (const { kind, event, attempts } of seen) {
      expect(event?.message).toBe(outcomes[kind].why)
      expect(attempts?.[0]).toMatchObject({ attempt: 1, why: outcomes[kind].why, node_id: nodeId })
    }
    expect(seen[1]?.attempts?.[0]).toMatchObject({ error_class: 'http_5xx', http_status: 503 })
    expect(seen[1]?.event?.data).toMatchObject({ next_run_at: expect.any(String), error_class: 'http_5xx' })
  })

  test('keeps the result as it was given', async () => {
    const job = await enqueueAndClaim()
    await settle({ job, outcome: outcomes.done })
    const detail = await findJob(fixture.db, job)
    expect(JSON.stringify(detail?.job.result)).toBe(JSON.stringify(outcomes.done.result))
    expect(detail?.job).toMatchObject({ attempts: 1, finishedAt: expect.any(Date) })
  })

  test('texts from upstream cannot break a batch', async () => {
    const [odd, plain] = [await enqueueAndClaim(), await enqueueAndClaim()]
    const message = `nul \0 lone \ud800 ${'x'.repeat(10_000)}`
    const outcome = { ...outcomes.dead, error: { class: 'odd\0', message } }
    expect(await settle({ job: odd, outcome }, { job: plain, outcome: outcomes.done })).toHaveLength(2)
    const detail = await findJob(fixture.db, odd)
    expect(detail?.attempts[0]?.error_message).toMatch(/^nul \ufffd lone \ufffd x{1900}/)
  })

  test('a retry spends an attempt, a snooze and a hand-back do not', async () => {
    const first = await enqueueAndClaim()
    await settle({ job: first, outcome: outcomes.retry })
    await promoteAll(first)
    const second = await claimAgain(first)
    await settle({ job: second, outcome: outcomes.snooze })
    await promoteAll(second)
    const third = await claimAgain(second)
    await settle({ job: third, outcome: outcomes.returned })
    const fourth = await claimAgain(third)
    expect([first, second, third, fourth].map(({ attempt }) => attempt)).toEqual([1, 2, 2, 2])
    expect(new Set([first, second, third, fourth].map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1)
    await settle({ job: fourth, outcome: outcomes.done })
    expect((await findJob(fixture.db, first))?.job).toMatchObject({ state: 'done', attempts: 2 })
  })

  test('what is handed back has its old place in its lane, not one behind all others', async () => {
    const first = await enqueueAndClaim()
    const others = [1, 2].map(() => sampleJob({ tenantId: first.tenantId }))
    await enqueueJobs(fixture.db, others)
    await settle({ job: first, outcome: outcomes.returned })
    expect((await claimAgain(first)).id).toBe(first.id)
    expect((await claimAgain(first)).id).toBe(others[0]?.id)
  })

  test('a stale lease changes nothing, also inside a batch and when it comes twice', async () => {
    const stale = await enqueueAndClaim()
    await settle({ job: stale, outcome: outcomes.returned })
    const current = await claimAgain(stale)
    const other = await enqueueAndClaim()
    const settled = await settle(
      { job: stale, outcome: outcomes.dead },
      { job: other, outcome: outcomes.done },
    )
    expect(settled.map(({ job }) => job.id)).toEqual([other.id])
    expect(await whereIs(fixture.db, current)).toMatchObject({ state: 'queued', run: 1, dead: 0 })
    expect(await settle({ job: current, outcome: outcomes.done })).toHaveLength(1)
    expect(await settle({ job: current, outcome: outcomes.done })).toEqual([])
    expect((await findJob(fixture.db, current))?.attempts.map(({ outcome }) => outcome)).toEqual([
      'returned',
      'done',
    ])
    expect((await types(current.id)).filter((type) => type === 'job.succeeded')).toHaveLength(1)
  })

  test('of two settlements of one lease at the same time one counts', async () => {
    const jobs = await Promise.all(Array.from({ length: 20 }, () => enqueueAndClaim()))
    const attempt = (outcome: Settlement['outcome']) => settle(...jobs.map((job) => ({ job, outcome })))
    const [a, b, c] = await Promise.all([
      attempt(outcomes.done),
      attempt(outcomes.retry),
      attempt(outcomes.dead),
    ])
    expect((a?.length ?? 0) + (b?.length ?? 0) + (c?.length ?? 0)).toBe(20)
  })
})

describe('cancelJob', () => {
  const cancel = (job: { tenantId: string; id: string }) =>
    cancelJob(fixture.db, { tenantId: job.tenantId, id: job.id, actor: 'ada', reason: 'wrong customer' })

  test('one that waits, for a worker or for its time, is cancelled at once', async () => {
    const tenantId = newId()
    const jobs = [sampleJob({ tenantId }), sampleJob({ tenantId, runAt: new Date(Date.now() + 3_600_000) })]
    await enqueueJobs(fixture.db, jobs)
    for (const job of jobs) {
      expect(await cancel(job)).toEqual({ state: 'cancelled', lanes: [] })
      expect(await whereIs(fixture.db, job)).toMatchObject({ state: 'cancelled', deferred: 0 })
      expect((await eventsOf(fixture.db, job)).at(-1)).toMatchObject({
        type: 'job.cancelled',
        message: 'Cancelled by ada: wrong customer',
      })
    }
  })

  test('one that runs is asked to stop; a retry becomes the cancel, a success stays one', async () => {
    const [failing, succeeding] = [await enqueueAndClaim(), await enqueueAndClaim()]
    for (const job of [failing, succeeding]) expect(await cancel(job)).toMatchObject({ state: 'cancelling' })
    expect((await findJob(fixture.db, failing))?.job).toMatchObject({
      state: 'running',
      cancelRequestedAt: expect.any(Date),
    })
    await settle({ job: failing, outcome: outcomes.retry }, { job: succeeding, outcome: outcomes.done })
    expect(await whereIs(fixture.db, failing)).toMatchObject({ state: 'cancelled', deferred: 0 })
    expect(await whereIs(fixture.db, succeeding)).toMatchObject({ state: 'done' })
    expect(await types(failing.id)).toEqual(['job.queued', 'job.cancel_requested', 'job.cancelled'])
  })

  test('one that stopped when it was told says who asked and why, in its attempt, event and answer', async () => {
    const job = await enqueueAndClaim()
    await cancel(job)
    const settled = await settle({ job, outcome: outcomes.cancelled })
    const why = 'Cancelled by ada: wrong customer'
    expect(settled.map(({ row }) => row.why)).toEqual([why])
    expect((await eventsOf(fixture.db, job)).at(-1)).toMatchObject({ type: 'job.cancelled', message: why })
    expect((await findJob(fixture.db, job))?.attempts).toMatchObject([{ outcome: 'cancelled', why }])
  })

  test('one that ends while its cancel commits: the end waits for the cancel and is stored as a whole', async () => {
    const [succeeding, failing, beside] = [
      await enqueueAndClaim(),
      await enqueueAndClaim(),
      await enqueueAndClaim(),
    ]
    for (const job of [succeeding, failing]) {
      let settled: Promise<unknown> | undefined
      const outcome = job === succeeding ? outcomes.done : outcomes.retry
      const record = async () => {
        settled = settle({ job, outcome }, { job: beside, outcome: outcomes.done })
        await vi.waitFor(async () => expect(await rowWaits(fixture.owner, undefined)).toEqual({ waiting: 1 }))
      }
      await cancelJob(fixture.db, { tenantId: job.tenantId, id: job.id, actor: 'ada' }, { record })
      await settled
    }
    expect(await whereIs(fixture.db, succeeding)).toMatchObject({ state: 'done', run: 0 })
    expect(await whereIs(fixture.db, beside)).toMatchObject({ state: 'done', run: 0 })
    expect(await whereIs(fixture.db, failing)).toMatchObject({ state: 'cancelled', run: 0, deferred: 0 })
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })

  test.each(['done', 'dead'] as const)('one that is %s already: conflict that says so', async (kind) => {
    const job = await enqueueAndClaim()
    await settle({ job, outcome: outcomes[kind] })
    const state = kind === 'dead' ? 'a dead letter' : kind
    await expect(cancel(job)).rejects.toMatchObject({
      code: 'conflict',
      message: `The job has ended: it is ${state}.`,
    })
  })

  test('one that is cancelled already: the same answer, and nothing follows twice', async () => {
    const completion = { callback: { connector: 'shop' } }
    const job = sampleJob({ tenantId: newId(), completion })
    await enqueueJobs(fixture.db, [job])
    const ref = { tenantId: job.tenantId, id: job.id, actor: 'ada' }
    const seen: unknown[] = []
    const together = {
      followUps: async () => {
        seen.push('followed')
        return []
      },
      record: async (_tx: unknown, state: string) => void seen.push(state),
    }
    for (const _ of [1, 2])
      expect(await cancelJob(fixture.db, ref, together)).toEqual({ state: 'cancelled', lanes: [] })
    expect(seen).toEqual(['followed', 'cancelled'])
    expect(await types(job.id)).toEqual(['job.queued', 'job.cancelled'])
  })

  test('a job of another workspace is a job that does not exist', async () => {
    const job = await enqueueAndClaim()
    const answers = await Promise.all(
      [
        { tenantId: newId(), id: job.id },
        { tenantId: job.tenantId, id: newId() },
      ].map((ref) => cancel(ref).catch((problem: unknown) => problem)),
    )
    expect(answers[0]).toMatchObject({ code: 'not_found' })
    expect(answers[0]).toEqual(answers[1])
    expect(await whereIs(fixture.db, job)).toMatchObject({ state: 'queued', run: 1 })
  })

  test('follow-ups commit with it or it does not happen', async () => {
    const completion = { callback: { connector: 'shop' } }
    const job = sampleJob({ tenantId: newId(), completion })
    await enqueueJobs(fixture.db, [job])
    const ref = { tenantId: job.tenantId, id: job.id, actor: 'ada' }
    const failing = cancelJob(fixture.db, ref, { followUps: () => Promise.reject(new Error('no')) })
    await expect(failing).rejects.toThrow('no')
    expect(await whereIs(fixture.db, job)).toMatchObject({ state: 'queued', ready: 1 })

    const seen: EndedJob[] = []
    await cancelJob(fixture.db, ref, {
      followUps: async (_tx, ended) => {
        seen.push(...ended)
        return []
      },
    })
    expect(seen).toMatchObject([{ state: 'cancelled', job: { id: job.id, completion, attempt: 0 } }])
  })

  test('waits for a claim that is just taking the job, and then asks its worker', async () => {
    const job = sampleJob({ tenantId: newId() })
    await enqueueJobs(fixture.db, [job])
    let answer: Promise<{ state: string }> | undefined
    await fixture.claimDb.transaction(async (tx) => {
      const grant = { queue: job.queue, tenantId: job.tenantId, lane: job.lane, take: 1, low: [0, 0, 0, 0] }
      expect((await claimJobs(tx, { nodeId, maxRunMs: 60_000, grants: [grant] })).jobs).toHaveLength(1)
      answer = cancel(job)
      await vi.waitFor(async () => expect((await lockWaits(fixture.db, undefined)).waiting).toBe(1))
    })
    expect(await answer).toMatchObject({ state: 'cancelling' })
    expect(await whereIs(fixture.db, job)).toMatchObject({ state: 'queued', run: 1 })
  })

  test('racing with claims: a job is either cancelled and never ran, or ran and was asked to stop', async () => {
    const tenantId = newId()
    const jobs = Array.from({ length: 120 }, () => sampleJob({ tenantId }))
    await enqueueJobs(fixture.db, jobs)
    const lane = { queue: 'default', tenantId, lane: 1 } as const
    const claimed = new Set<string>()
    const claimer = async () => {
      for (let round = 0; round < 60; round += 1)
        for (const { job } of (await claimLane(fixture.claimDb, nodeId, lane, 2)).jobs) claimed.add(job.id)
    }
    const answers = new Map<string, string>()
    const canceller = async () => {
      for (const job of jobs.filter((_, index) => index % 2 === 0))
        answers.set(job.id, (await cancel(job)).state)
    }
    await Promise.all([claimer(), claimer(), canceller()])
    for (const [id, answer] of answers) expect([id, claimed.has(id)]).toEqual([id, answer === 'cancelling'])
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })
})

describe('rescue', () => {
  const run = () => rescue(fixture.claimDb, { limits: RESCUE_LIMITS, log: fixture.platform.log })

  test('jobs of a silent node run again, spent by one attempt; its late settlement is refused', async () => {
    const silent = await registerNode(fixture.db)
    const [lost, safe] = [await enqueueAndClaim({}, silent), await enqueueAndClaim()]
    await silence(fixture.db, { nodeId: silent })
    expect(await run()).toMatchObject({ retried: 1, dead: 0 })
    expect(await whereIs(fixture.db, lost)).toMatchObject({ state: 'queued', run: 0, deferred: 1 })
    expect(await whereIs(fixture.db, safe)).toMatchObject({ run: 1 })
    expect((await eventsOf(fixture.db, lost)).at(-1)).toMatchObject({ type: 'job.rescued' })

    await promoteAll(lost)
    const again = await claimAgain(lost)
    expect(again.attempt).toBe(2)
    expect(await settle({ job: lost, outcome: outcomes.done })).toEqual([])
    expect(await settle({ job: again, outcome: outcomes.done })).toHaveLength(1)
  })

  test('a job that loses its worker three times is a dead letter with reason poison', async () => {
    let job = await enqueueAndClaim({ completion: { callback: { connector: 'shop' } } })
    const ended: EndedJob[] = []
    for (let kill = 1; kill <= 3; kill += 1) {
      if (kill > 1) {
        await promoteAll(job)
        const node = await registerNode(fixture.db)
        job = await claimAgain(job, node)
        await silence(fixture.db, { nodeId: node })
      } else {
        await settle({ job, outcome: outcomes.returned })
        const node = await registerNode(fixture.db)
        job = await claimAgain(job, node)
        await silence(fixture.db, { nodeId: node })
      }
      await rescue(fixture.claimDb, {
        limits: RESCUE_LIMITS,
        log: fixture.platform.log,
        followUps: async (_tx, rows) => {
          ended.push(...rows)
          return []
        },
      })
    }
    expect(await whereIs(fixture.db, job)).toMatchObject({ state: 'dead', dead: 1, deferred: 0 })
    expect((await findJob(fixture.db, job))?.job).toMatchObject({ deadReason: 'poison', attempts: 3 })
    expect(ended).toMatchObject([{ state: 'dead', reason: 'poison', job: { id: job.id } }])
  })

  test('an attempt far beyond its deadline is taken away; a requested cancel is honoured then', async () => {
    const [overrun, cancelled] = [await enqueueAndClaim(), await enqueueAndClaim()]
    await cancelJob(fixture.db, { tenantId: cancelled.tenantId, id: cancelled.id, actor: 'ada' })
    // A grace of minus an hour: the deadlines of the last hour's claims have passed.
    const limits = { ...RESCUE_LIMITS, overrunGraceMs: -3_600_000 }
    await rescue(fixture.claimDb, { limits, log: fixture.platform.log })
    expect(await whereIs(fixture.db, overrun)).toMatchObject({ state: 'queued', deferred: 1 })
    expect(await whereIs(fixture.db, cancelled)).toMatchObject({ state: 'cancelled', deferred: 0 })
  })

  test('several rescuers at once take each job once; failing follow-ups keep nobody waiting', async () => {
    const silent = await registerNode(fixture.db)
    const jobs = await Promise.all(Array.from({ length: 30 }, () => enqueueAndClaim({}, silent)))
    await silence(fixture.db, { nodeId: silent })
    const results = await Promise.all([run(), run(), run(), run()])
    expect(results.reduce((sum, { retried }) => sum + retried, 0)).toBe(jobs.length)

    const broken = await registerNode(fixture.db)
    const withCallback = await enqueueAndClaim({ completion: { callback: { connector: 'gone' } } }, broken)
    await cancelJob(fixture.db, { tenantId: withCallback.tenantId, id: withCallback.id, actor: 'ada' })
    const neighbour = await enqueueAndClaim({}, broken)
    await silence(fixture.db, { nodeId: broken })
    await rescue(fixture.claimDb, {
      limits: RESCUE_LIMITS,
      log: fixture.platform.log,
      followUps: () => Promise.reject(new Error('the connector is gone')),
    })
    expect(await whereIs(fixture.db, withCallback)).toMatchObject({ state: 'cancelled' })
    expect(await whereIs(fixture.db, neighbour)).toMatchObject({ deferred: 1 })
  })
})

test('endedBy tells follow-ups how the job really ended', async () => {
  const [asked, dead] = [await enqueueAndClaim(), await enqueueAndClaim()]
  await cancelJob(fixture.db, { tenantId: asked.tenantId, id: asked.id, actor: 'ada' })
  const settled = await settle(
    { job: asked, outcome: outcomes.snooze },
    { job: dead, outcome: outcomes.dead },
  )
  const ended = new Map(settled.map((each) => [each.job.id, endedBy(each)]))
  expect(ended.get(asked.id)).toMatchObject({ state: 'cancelled', why: 'Cancelled by ada.', error: null })
  expect(ended.get(dead.id)).toMatchObject({ state: 'dead', reason: 'attempts_spent', error })
})

test('every job is in one place at the end of all this', async () => {
  expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
})
