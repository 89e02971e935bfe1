import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { type CallServer, checkedAnswers } from '../../../testing/checked-answers.ts'
import { UNLIMITED } from '../../../testing/unlimited.ts'
import { systemClock } from '../../platform/clock.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { createEnqueuer } from '../../queue/enqueuer.ts'
import { createWakeUp, type WakeUp } from '../../queue/wake-up.ts'
import { createLoadShed, type LoadShed, SHED_AT_MS, type Work } from '../../resilience/load-shed.ts'
import { executeExec } from '../execute/execute.exec.ts'
import { createExecutionKeys, createExecutor, createRequestLog } from '../execute/execute.ts'
import { jobsExec } from '../jobs/jobs.exec.ts'
import { admit } from './guards.ts'

/** Refusing by class of work, on the routes of the exec plane. */
let hub: CallingHub
let wakeUp: WakeUp
let token: string
const cleanUps: (() => unknown)[] = []

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  const operations = { get: { method: 'GET', path: '/' } }
  const api = { kind: 'http', settings: { base_url: hub.upstream.url, operations } }
  const priority = (of: 'low' | 'default' | 'critical') => ({ load_shedding: { priority: of } })
  await hub.configure({
    policies: {
      default: { ...UNLIMITED, load_shedding: {} },
      low: priority('low'),
      critical: priority('critical'),
      watched: { load_shedding: { mode: 'shadow' } },
    },
    connectors: {
      low: { ...api, policy: 'low' },
      default: api,
      critical: { ...api, policy: 'critical' },
      watched: { ...api, policy: 'watched' },
    },
  })
  wakeUp = createWakeUp(hub.database.platform)
  const scopes = ['orchestrator.execute', 'orchestrator.jobs.write', 'orchestrator.jobs.read']
  token = await hub.access.bearer(hub.tenantId, { scopes })
})
afterAll(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
  await wakeUp.close()
  await hub.close()
})

/** The exec plane at a level of load. */
async function planeAt(level: 0 | 1 | 2 | 3 | 4): Promise<CallServer> {
  const loadShed: LoadShed = createLoadShed({ clock: systemClock })
  for (const _ of [1, 2]) loadShed.heard(SHED_AT_MS[level])
  const { db } = hub.database
  const platform = { ...hub.database.platform, metrics: createMetrics('test', false) }
  const requestLog = createRequestLog({ ...platform, db })
  const keys = createExecutionKeys(platform)
  const guards = { ...hub.guards, loadShed }
  const app = await hub.access.server({ admit: (work) => admit(loadShed, work as Work) })
  executeExec(app, createExecutor({ ...hub, guards, platform, requestLog, keys }))
  const enqueuer = createEnqueuer(db, { wakeUp })
  jobsExec(app, { db, clock: systemClock, activeConfigs: hub.activeConfigs, enqueuer, wakeUp, loadShed })
  const call = checkedAnswers(app)
  await app.ready()
  cleanUps.push(
    () => requestLog.close(),
    () => keys.close(),
    () => enqueuer.close(),
  )
  return call
}

const LEVELS = [
  { level: 0, refused: [] },
  { level: 1, refused: ['low'] },
  { level: 2, refused: ['low', 'default', 'read'] },
  { level: 3, refused: ['low', 'default', 'read', 'critical'] },
] as const

describe.each(LEVELS)('at level $level', ({ level, refused }) => {
  const expected = (work: string, ok: number) => (refused.includes(work as never) ? 503 : ok)

  test('executions are refused by the priority of their policy, jobs by their queue, questions after low', async () => {
    const call = await planeAt(level)
    for (const connector of ['low', 'default', 'critical'] as const) {
      const answer = await call<{ code?: string }>('POST', '/execute', token, {
        body: { connector, operation: 'get', input: {} },
      })
      expect([connector, answer.status]).toEqual([connector, expected(connector, 200)])
      if (answer.status === 503) expect(answer.body.code).toBe('overloaded')
      const job = await call('POST', '/jobs', token, {
        body: { connector, operation: 'get', input: {}, queue: connector },
      })
      expect([connector, job.status]).toEqual([connector, expected(connector, 202)])
    }
    expect((await call('GET', '/jobs', token)).status).toBe(expected('read', 200))
  })
})

test('a batch counts as its most important job', async () => {
  const call = await planeAt(1)
  const job = (queue: string) => ({ connector: 'default', operation: 'get', input: {}, queue })
  const batch = (queues: string[]) => call('POST', '/jobs/batch', token, { body: { jobs: queues.map(job) } })
  expect((await batch(['low', 'low'])).status).toBe(503)
  expect((await batch(['low', 'default'])).status).toBe(202)
})

test('a policy that only watches refuses nothing, and counts what it would have refused', async () => {
  const call = await planeAt(2)
  hub.wouldHave.length = 0
  const body = { connector: 'watched', operation: 'get', input: {} }
  expect((await call('POST', '/execute', token, { body })).status).toBe(200)
  expect(hub.wouldHave).toEqual(['load_shedding'])
})

test('who is refused is told when to come again', async () => {
  const call = await planeAt(3)
  const answer = await call('GET', '/jobs', token)
  expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '3' } })
})
