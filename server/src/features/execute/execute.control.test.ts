import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { checkedAnswers } from '../../../testing/checked-answers.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { sampleClaim, unknownExecution } from '../../../testing/execution-keys.ts'
import { hashOf } from '../../../testing/queue-fixture.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { executeControl } from './execute.control.ts'
import { claimKeys, endKeys } from './execution-keys.sql.ts'

let database: TestDatabase
let access: TenantAccess
let call: CallServer
let tenantId: string
let token: string
let stranger: string

interface View {
  execution_id: string
  state: string
  key: string
  code: string
  answer: unknown
  runs: number
}
interface ViewPage {
  data: View[]
  next_cursor: string | null
}

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database, { audience: 'orchestrator-control' })
  const app = await access.server()
  call = checkedAnswers(app)
  executeControl(app, database)
  await app.ready()
  tenantId = (await access.workspace('shop-dev')).id
  token = await access.bearer(tenantId)
  stranger = await access.bearer((await access.workspace('other-dev')).id)
})
afterAll(async () => {
  await access.close()
  await database.drop()
})

const get = <Body = View>(path: string, as = token) => call<Body>('GET', path, as)
const settle = (id: string, body: object, as = token) =>
  call<View>('POST', `/executions/${id}/settle`, as, { body: { reason: 'asked the bank', ...body } })
const running = async (claim: Partial<Parameters<typeof sampleClaim>[0]> = {}) => {
  const of = sampleClaim({ tenantId, key: newId(), ...claim })
  await claimKeys(database.db, { claims: [of] })
  return of
}
const query = async <Row extends object>(text: string, values: readonly unknown[]) =>
  (await database.db.execute<Row>({ name: '', text }, values)).rows

test('done: who repeats the call gets the output, and audit and events say who found it out', async () => {
  const id = await unknownExecution(database.db, tenantId)
  const before = await get(`/executions/${id}`)
  expect(before.body).toMatchObject({
    execution_id: id,
    state: 'unknown',
    outcome: 'upstream_timeout',
    answer: null,
  })
  expect(await settle(id, { outcome: 'done', output: { id: 'ch_1' } })).toMatchObject({
    status: 200,
    body: { execution_id: id, outcome: 'done' },
  })
  const { key } = before.body
  const [row] = await claimKeys(database.db, {
    claims: [sampleClaim({ tenantId, key, executionId: newId() })],
  })
  expect(row).toMatchObject({ verdict: 'finished', status: 200, execution_id: id })
  expect(JSON.parse(row?.answer ?? '')).toMatchObject({
    status: 'ok',
    output: { id: 'ch_1' },
    settled_by: 'svc:test',
    idempotency: { key, replayed: true },
    request_id: 'request-1',
    trace_id: 'a'.repeat(32),
  })
  expect((await get(`/executions/${id}`)).body).toMatchObject({
    state: 'finished',
    answer: { output: { id: 'ch_1' } },
  })
  const [entry] = await query<{ action: string; reason: string; actor: string }>(
    'select action, reason, actor from audit_entry where tenant_id = $1 and object = $2',
    [tenantId, `execution:${id}`],
  )
  expect(entry).toEqual({ action: 'execution.settled', reason: 'asked the bank', actor: 'svc:test' })
  const events = await query<{ type: string }>(
    `select type from event where tenant_id = $1 and data ->> 'execution_id' = $2 order by seq`,
    [tenantId, id],
  )
  expect(events.map(({ type }) => type)).toEqual(['execution.unknown', 'execution.settled'])
  expect(await settle(id, { outcome: 'not_done' })).toMatchObject({ status: 409, body: { code: 'conflict' } })
})

test('not done: the key is free', async () => {
  const id = await unknownExecution(database.db, tenantId)
  const { key } = (await get(`/executions/${id}`)).body
  expect((await settle(id, { outcome: 'not_done' })).status).toBe(200)
  expect((await get(`/executions/${id}`)).status).toBe(404)
  const executionId = newId()
  const [row] = await claimKeys(database.db, { claims: [sampleClaim({ tenantId, key, executionId })] })
  expect(row).toMatchObject({ verdict: 'claimed', execution_id: executionId, lease: 1 })
})

test('what runs cannot be settled; once its lease is over it can, and its late holder changes nothing', async () => {
  const { executionId, key } = await running()
  expect(await settle(executionId, { outcome: 'not_done' })).toMatchObject({ status: 409 })
  await query(`update execution_key set lease_until = now() - interval '1 second' where execution_id = $1`, [
    executionId,
  ])
  expect((await get(`/executions/${executionId}`)).body.state).toBe('unknown')
  expect((await settle(executionId, { outcome: 'done' })).status).toBe(200)
  const late = { tenantId, key, executionId, lease: 1, to: 'finished', status: 200, answer: '{}' } as const
  expect(await endKeys(database.db, { ends: [late] })).toEqual([])
})

test('another workspace finds none of it, in the same words as for none', async () => {
  const id = await unknownExecution(database.db, tenantId)
  const same = { 'x-request-id': 'same', traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01` }
  const [foreign, missing] = [await get(`/executions/${id}`, stranger), await get(`/executions/${newId()}`)]
  expect([foreign.status, foreign.body.code]).toEqual([404, 'not_found'])
  expect(missing.status).toBe(404)
  const bodies = [id, newId()].map(async (each) => {
    const body = { reason: 'x', outcome: 'done' }
    return (await call('POST', `/executions/${each}/settle`, stranger, { body, headers: same })).text
  })
  const [first, second] = await Promise.all(bodies)
  expect(first).toBe(second)
  expect((await get<ViewPage>('/executions', stranger)).body.data).toEqual([])
})

test.each([
  ['no reason', { outcome: 'done', reason: undefined }, '/body/reason'],
  ['another outcome', { outcome: 'maybe' }, '/body/outcome'],
  ['an output of what was not done', { outcome: 'not_done', output: 1 }, '/body/output'],
])('%s is refused by its place', async (_what, body, path) => {
  const answer = await settle(newId(), body)
  expect(answer).toMatchObject({ status: 400, body: { details: [{ path }] } })
})

test('the list goes page by page, newest first, with every filter', async () => {
  const access2 = await access.workspace('list-dev')
  const as = await access.bearer(access2.id)
  const made: { id: string; state: string; connector: string }[] = []
  for (let at = 0; at < 12; at += 1) {
    const connector = at % 2 === 0 ? 'api' : 'bank'
    const claim = sampleClaim({
      tenantId: access2.id,
      key: `k${at}`,
      connector,
      executionId: newId(),
      fingerprint: hashOf('x'),
    })
    await claimKeys(database.db, { claims: [claim] })
    const state = (['running', 'finished', 'unknown'] as const)[at % 3] ?? 'running'
    const { tenantId: tenant, key, executionId } = claim
    if (state !== 'running')
      await endKeys(database.db, {
        ends: [
          {
            tenantId: tenant,
            key,
            executionId,
            lease: 1,
            to: state,
            outcome: 'ok',
            status: 200,
            answer: '{}',
          },
        ],
      })
    made.unshift({ id: executionId, state, connector })
  }
  for (const state of [undefined, 'running', 'finished', 'unknown'])
    for (const connector of [undefined, 'api', 'bank']) {
      const wanted = made.filter(
        (each) => (!state || each.state === state) && (!connector || each.connector === connector),
      )
      const seen: string[] = []
      for (let cursor: string | null = ''; cursor !== null; ) {
        const filter = `${state ? `&state=${state}` : ''}${connector ? `&connector=${connector}` : ''}`
        const url: string = `/executions?limit=2${filter}${cursor && `&cursor=${cursor}`}`
        const { body } = await get<ViewPage>(url, as)
        seen.push(...body.data.map(({ execution_id }) => execution_id))
        cursor = body.next_cursor
      }
      expect(seen, `${state} ${connector}`).toEqual(wanted.map(({ id }) => id))
    }
})
