import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { deadJob, deadJobs } from '../../../testing/dead-letters.ts'
import { clearQueue } from '../../../testing/queue-fixture.ts'
import { newId } from '../../platform/ids.ts'
import type { ClaimedJob } from '../../queue/job.ts'
import { deadLettersControl } from './dead-letters.control.ts'
import type { GroupView, LetterView, PlanView } from './dead-letters.schema.ts'
import { runNextBatch } from './run-plan.ts'

let hub: CallingHub
let send: CallServer
let token: string
let others: string
let dead: ClaimedJob[]

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  send = await hub.serve((app) => deadLettersControl(app, hub.database))
})
afterAll(() => hub.close())
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId)
  others = await hub.access.bearer(hub.otherId)
  await clearQueue(hub.database.owner, undefined)
  dead = await deadJobs(hub.database, 3, { tenantId: hub.tenantId })
})

interface PageOf<Item> {
  readonly data: Item[]
  readonly next_cursor: string | null
}

const at = ({ id }: { readonly id: string } = { id: '' }): string => id
const letters = async (query = '', authorization = token) =>
  (await send<PageOf<LetterView>>('GET', `/dlq/default${query}`, authorization)).body.data
const idsOf = async (query?: string, authorization?: string) =>
  (await letters(query, authorization)).map(({ job_id }) => job_id)

const postPlan = (body: unknown, queue = 'default', authorization = token) =>
  send<PlanView>('POST', `/dlq/${queue}/plans`, authorization, { body })
const act = (
  planId: string,
  verb: 'commit' | 'abort',
  body: unknown = { reason: 'it is back' },
  by = token,
) => send<PlanView>('POST', `/dlq/plans/${planId}/${verb}`, by, { body })
const plan = async (id: string, authorization = token) =>
  send<PlanView>('GET', `/dlq/plans/${id}`, authorization)

/** Commits a plan and does all of it. */
async function done(body: unknown): Promise<PlanView> {
  const { body: made } = await postPlan(body)
  expect((await act(made.plan_id, 'commit')).status).toBe(202)
  const { db, platform } = hub.database
  for (let more: unknown = true; more; ) {
    await hub.query('update dead_letter_plan set next_at = clock_timestamp() where next_at is not null')
    more = await runNextBatch({ db, log: platform.log, check: async () => undefined })
  }
  return (await plan(made.plan_id)).body
}

describe('lists', () => {
  test('pages, newest first, of the caller only', async () => {
    await deadJob(hub.database, { tenantId: hub.otherId })
    const first = await send<PageOf<LetterView>>('GET', '/dlq/default?limit=2', token)
    const rest = await idsOf(`?limit=2&cursor=${first.body.next_cursor}`)
    expect([...first.body.data.map(({ job_id }) => job_id), ...rest]).toEqual(dead.map(at).reverse())
    expect(first.body.data[0]).toMatchObject({
      queue: 'default',
      connector: 'crm',
      operation: 'contact.create',
      reason: 'attempts_spent',
      attempts: 1,
      error: { class: 'http_5xx', message: 'The shop answered 503.', http_status: 503 },
      fingerprint: expect.stringMatching(/^[0-9a-f]{16}$/),
      replays: 0,
      purged_at: null,
    })
    expect(await idsOf('', others)).toHaveLength(1)
    expect((await send<PageOf<LetterView>>('GET', '/dlq/webhook', token)).body.data).toEqual([])
  })

  test('filters reach the statement, one by one', async () => {
    const odd = await deadJob(
      hub.database,
      { tenantId: hub.tenantId, connector: 'mail', operation: 'send' },
      { error: { class: 'timeout', message: 'No answer.' }, reason: 'poison' },
    )
    const [letter] = await letters('?limit=1')
    for (const query of [
      'connector=mail',
      'operation=send',
      'reason=poison',
      'error_class=timeout',
      `fingerprint=${letter?.fingerprint}`,
      `dead_after=${letter?.dead_at}`,
    ])
      expect(await idsOf(`?${query}`), query).toEqual([odd.id])
    expect(await idsOf(`?dead_before=${letter?.dead_at}`)).toEqual(dead.map(at).reverse())
    expect(await idsOf('?dead_after=0001-01-01T00:00:00Z&dead_before=9999-12-31T23:59:59Z')).toHaveLength(4)
    expect(await idsOf('?dead_after=0000-01-01T00:00:00Z')).toHaveLength(4)
  })

  test('groups tell kind, count, first and last time and a sample', async () => {
    const { body } = await send<PageOf<GroupView>>('GET', '/dlq/default/groups', token)
    const [newest, , oldest] = await letters()
    expect(body.data).toEqual([
      {
        fingerprint: newest?.fingerprint,
        count: 3,
        first_seen_at: oldest?.dead_at,
        last_seen_at: newest?.dead_at,
        connector: 'crm',
        operation: 'contact.create',
        error: newest?.error,
        sample_job_id: newest?.job_id,
      },
    ])
    expect((await send<PageOf<GroupView>>('GET', '/dlq/default/groups', others)).body.data).toEqual([])
    const next = await send<PageOf<GroupView>>('GET', '/dlq/default/groups?limit=1&bin=true', token)
    expect(next.body).toEqual({ data: [], next_cursor: null })
  })
})

describe('from plan to end', () => {
  test('a replay of one, by its id in any letters', async () => {
    const id = at(dead[1])
    const { status, headers, body } = await postPlan({ action: 'replay', ids: [id.toUpperCase(), id] })
    expect(status).toBe(201)
    expect(headers.location).toBe(`/dlq/plans/${body.plan_id}`)
    expect(body).toMatchObject({
      queue: 'default',
      action: 'replay',
      state: 'planned',
      ids: [id],
      filter: null,
      count: 1,
      estimate_seconds: 1,
      rate_per_second: 50,
      new_effect: false,
      sample: [{ job_id: id }],
      reason: null,
      progress: { total: 1, done: 0, skipped: 0, skipped_why: [] },
    })
    expect(await idsOf()).toHaveLength(3)
    expect((await act(body.plan_id, 'commit')).body).toMatchObject({
      state: 'running',
      committed_by: 'svc:test',
      reason: 'it is back',
    })
  })

  test('a purge of all that fit a filter, and its way back', async () => {
    const purged = await done({ action: 'purge', filter: { connector: 'crm' } })
    expect(purged).toMatchObject({ state: 'done', progress: { total: 3, done: 3 }, estimate_seconds: 0 })
    expect(await idsOf()).toEqual([])
    const bin = await letters('?bin=true')
    expect(bin.map(({ job_id }) => job_id)).toEqual(dead.map(at).reverse())
    expect(bin[0]?.purged_at).not.toBeNull()
    await done({ action: 'restore', ids: [at(dead[0])] })
    expect(await idsOf()).toEqual([at(dead[0])])
  })

  test('an empty filter is all of the queue that were there when the plan was made', async () => {
    const odd = await deadJob(hub.database, { tenantId: hub.tenantId, connector: 'mail', operation: 'send' })
    const foreign = await deadJob(hub.database, { tenantId: hub.otherId })
    const elsewhere = await deadJob(hub.database, { tenantId: hub.tenantId, queue: 'low' })
    const { status, body } = await postPlan({ action: 'purge', filter: {} })
    expect(status).toBe(201)
    expect(body).toMatchObject({ ids: null, filter: {}, count: 4 })
    expect(await idsOf()).toHaveLength(4)
    expect(await done({ action: 'purge', filter: {} })).toMatchObject({
      state: 'done',
      progress: { done: 4 },
    })
    expect(await idsOf('?bin=true')).toEqual([odd, ...dead.toReversed()].map(at))
    expect(await idsOf('', others)).toEqual([foreign.id])
    expect((await send<PageOf<LetterView>>('GET', '/dlq/low', token)).body.data).toMatchObject([
      { job_id: elsewhere.id },
    ])
  })

  test('the estimate is by the rate, and plans are listed newest first', async () => {
    const slow = await postPlan({ action: 'replay', filter: { connector: 'crm' }, rate_per_second: 2 })
    expect(slow.body).toMatchObject({ count: 3, estimate_seconds: 2, oldest: slow.body.sample[0]?.dead_at })
    const next = await postPlan({ action: 'replay', ids: [at(dead[0])], new_effect: true })
    const list = await send<PageOf<PlanView>>('GET', '/dlq/plans?state=planned&limit=2', token)
    expect(list.body.data.slice(0, 2).map(({ plan_id }) => plan_id)).toEqual([
      next.body.plan_id,
      slow.body.plan_id,
    ])
    expect((await act(slow.body.plan_id, 'abort')).body).toMatchObject({
      state: 'aborted',
      ended_by: 'svc:test',
      ended_why: 'it is back',
      estimate_seconds: 0,
    })
    expect((await send<PageOf<PlanView>>('GET', '/dlq/plans', others)).body.data).toEqual([])
  })

  test('what was left out is told with its reason', async () => {
    const { body: made } = await postPlan({ action: 'replay', ids: dead.map(at) })
    await done({ action: 'purge', ids: [at(dead[0])] })
    await act(made.plan_id, 'commit')
    await runNextBatch({ db: hub.database.db, log: hub.database.platform.log, check: async () => undefined })
    expect((await plan(made.plan_id)).body.progress).toEqual({
      total: 3,
      done: 2,
      skipped: 1,
      skipped_why: [{ why: 'It is purged: restore it first.', count: 1 }],
    })
  })
})

describe('bad input', () => {
  const conflictOf = async (body: unknown, queue?: string) => {
    const answer = await postPlan(body, queue)
    return { status: answer.status, ...(answer.body as unknown as { detail: string; details: unknown }) }
  }

  test('an unknown queue', async () => {
    const { status, body } = await send('GET', '/dlq/fast', token)
    expect(status).toBe(400)
    expect(body).toMatchObject({
      code: 'validation_error',
      details: [{ path: '/path/queue', message: 'must be one of: critical, webhook, default, low' }],
    })
    expect((await postPlan({ action: 'purge', filter: { reason: 'x' } }, 'fast')).status).toBe(400)
  })

  test('a replay of what is replayed or purged: 409 that names its state; every job at fault is named', async () => {
    const [first, second] = [at(dead[0]), at(dead[1])]
    await done({ action: 'replay', ids: [first] })
    await done({ action: 'purge', ids: [second] })
    expect(await conflictOf({ action: 'replay', ids: [first] })).toMatchObject({
      status: 409,
      code: 'conflict',
      detail: 'The job cannot be replayed: it was replayed and is queued.',
    })
    expect(await conflictOf({ action: 'replay', ids: [second] })).toMatchObject({
      status: 409,
      detail: 'The job cannot be replayed: it is purged: restore it first.',
    })
    expect(await conflictOf({ action: 'purge', ids: [at(dead[2]), second, first] })).toMatchObject({
      status: 409,
      details: [
        { path: '/body/ids/1', message: expect.stringContaining('is purged') },
        { path: '/body/ids/2', message: expect.stringContaining('is queued') },
      ],
    })
    expect(await conflictOf({ action: 'restore', ids: [at(dead[2])] })).toMatchObject({
      status: 409,
      detail: 'The job cannot be restored: it is not in the bin: it is a dead letter.',
    })
    expect(await conflictOf({ action: 'replay', ids: [at(dead[2])] }, 'webhook')).toMatchObject({
      status: 409,
      detail: 'The job cannot be replayed: it is in the queue default.',
    })
  })

  test("jobs that do not exist and another workspace's jobs: the same bytes", async () => {
    const foreign = await deadJob(hub.database, { tenantId: hub.otherId })
    const same = {
      headers: { 'x-request-id': 'same', traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` },
    }
    const ask = async (id: string) => {
      const body = { action: 'replay', ids: [at(dead[0]), id] }
      return send('POST', '/dlq/default/plans', token, { body, ...same })
    }
    const [unknown, others] = [await ask(newId()), await ask(foreign.id)]
    expect(unknown).toMatchObject({ status: 404, body: { details: [{ path: '/body/ids/1' }] } })
    expect(others.text).toBe(unknown.text)
  })

  test('a filter that matches nothing: a plan with count 0, which cannot be committed', async () => {
    const { status, body } = await postPlan({ action: 'purge', filter: { connector: 'nobody' } })
    expect(status).toBe(201)
    expect(body).toMatchObject({ count: 0, oldest: null, sample: [], estimate_seconds: 0 })
    expect(await act(body.plan_id, 'commit')).toMatchObject({
      status: 409,
      body: { detail: 'The plan matches no dead letter: there is nothing to do.' },
    })
  })

  test('a purge without reason, or with an empty one', async () => {
    const { body } = await postPlan({ action: 'purge', filter: { connector: 'crm' } })
    for (const reason of [{}, { reason: '' }, { reason: '  ' }, { reason: 'x'.repeat(501) }])
      for (const verb of ['commit', 'abort'] as const)
        expect((await act(body.plan_id, verb, reason)).status).toBe(400)
    expect((await plan(body.plan_id)).body.state).toBe('planned')
  })

  test('a commit of a plan that has expired, is committed, is foreign or does not exist', async () => {
    const expired = (await postPlan({ action: 'purge', filter: { connector: 'crm' } })).body.plan_id
    await hub.query(
      `update dead_letter_plan set created_at = created_at - interval '16 minutes',
       expires_at = expires_at - interval '16 minutes' where id = $1`,
      [expired],
    )
    expect(await act(expired, 'commit')).toMatchObject({
      status: 409,
      body: { detail: 'The plan has expired: make a new one.' },
    })
    const { plan_id } = (await postPlan({ action: 'purge', filter: { connector: 'crm' } })).body
    const same = {
      headers: { 'x-request-id': 'same', traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` },
    }
    for (const verb of ['commit', 'abort'] as const) {
      const ask = (id: string) =>
        send('POST', `/dlq/plans/${id}/${verb}`, others, { body: { reason: 'mine?' }, ...same })
      const [foreign, unknown] = [await ask(plan_id), await ask(newId())]
      expect(foreign.status).toBe(404)
      expect(foreign.text).toBe(unknown.text)
    }
    const [foreign, unknown] = [
      await send('GET', `/dlq/plans/${plan_id}`, others, same),
      await send('GET', `/dlq/plans/${newId()}`, others, same),
    ]
    expect(foreign.status).toBe(404)
    expect(foreign.text).toBe(unknown.text)
    expect((await act(plan_id, 'commit')).status).toBe(202)
    expect(await act(plan_id, 'commit')).toMatchObject({
      status: 409,
      body: { detail: 'The plan is running already.' },
    })
  })

  test.each([
    [{ action: 'replay' }, '/body'],
    [{ action: 'replay', ids: [newId()], filter: { connector: 'crm' } }, '/body'],
    [{ action: 'replay', ids: [] }, '/body/ids'],
    [{ action: 'replay', ids: ['x'] }, '/body/ids/0'],
    [{ action: 'replay', ids: Array.from({ length: 1_001 }, newId) }, '/body/ids'],
    [{ action: 'replay', filter: { colour: 'red' } }, '/body/filter/colour'],
    [{ action: 'replay', filter: { dead_before: '2026-11-21T22:59:60Z' } }, '/body/filter/dead_before'],
    [{ action: 'burn', filter: { connector: 'crm' } }, '/body/action'],
    [{ action: 'replay', filter: { connector: 'crm' }, rate_per_second: 0 }, '/body/rate_per_second'],
    [{ action: 'purge', filter: { connector: 'crm' }, rate_per_second: 5 }, '/body/rate_per_second'],
    [{ action: 'purge', filter: { connector: 'crm' }, new_effect: true }, '/body/new_effect'],
  ])('a plan that makes no sense: %j', async (body, path) => {
    const answer = await postPlan(body)
    expect(answer).toMatchObject({ status: 400, body: { code: 'validation_error', details: [{ path }] } })
  })

  test.each([
    'dead_after=2026-11-21T22:59:60Z',
    'dead_before=yesterday',
    'fingerprint=ABC',
    'cursor=e30',
    `cursor=${Buffer.from('[1,"x"]').toString('base64url')}`,
    'bin=maybe',
    'limit=0',
    'colour=red',
  ])('a list that makes no sense: %s', async (query) => {
    expect((await send('GET', `/dlq/default?${query}`, token)).status).toBe(400)
    expect((await send('GET', `/dlq/default/groups?${query}`, token)).status).toBe(400)
  })

  test('reading needs the scope to read, everything else the scope to write', async () => {
    const reader = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.control.read'] })
    const writer = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.control.write'] })
    const { plan_id } = (await postPlan({ action: 'purge', filter: { connector: 'crm' } })).body
    for (const url of ['/dlq/default', '/dlq/default/groups', '/dlq/plans', `/dlq/plans/${plan_id}`]) {
      expect((await send('GET', url, writer)).status).toBe(403)
      expect((await send('GET', url, reader)).status).toBe(200)
    }
    expect(
      (await postPlan({ action: 'purge', filter: { connector: 'crm' } }, 'default', reader)).status,
    ).toBe(403)
    for (const verb of ['commit', 'abort'] as const)
      expect((await act(plan_id, verb, { reason: 'x' }, reader)).status).toBe(403)
  })
})
