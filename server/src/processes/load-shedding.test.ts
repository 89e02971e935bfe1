import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../testing/calling-hub.ts'
import { type CallServer, checkedAnswers } from '../../testing/checked-answers.ts'
import { UNLIMITED } from '../../testing/unlimited.ts'
import { type Config, loadConfig } from '../config.ts'
import { systemClock } from '../platform/clock.ts'
import { createLoadShed, SHED_AT_MS } from '../resilience/load-shed.ts'
import { buildExec } from './exec.ts'
import { issueOperatorToken } from './operator-token.ts'
import { stopInOrder } from './runtime.ts'
import { memoryNodeStore } from './shared-store.ts'

/** Refusing by class of work, on the routes of the exec plane. */
let hub: CallingHub
let folder: string
let config: Config
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
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-load-'))
  config = loadConfig({ DATA_DIR: folder, DATABASE_URL: hub.database.url })
  const scopes = ['orchestrator.execute', 'orchestrator.jobs.write', 'orchestrator.jobs.read']
  const { tenantId } = hub
  token = `Bearer ${await issueOperatorToken(config, { plane: 'exec', tenantId, scopes, lifetimeSeconds: 300 })}`
})
afterAll(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
  await hub.close()
  await rm(folder, { recursive: true })
})

/** The exec process at a level of load; it does not listen. */
async function planeAt(level: 0 | 1 | 2 | 3 | 4): Promise<CallServer> {
  const loadShed = createLoadShed({ clock: systemClock })
  for (const _ of [1, 2]) loadShed.heard(SHED_AT_MS[level])
  const { log } = hub.database.platform
  const { app, stopSteps } = await buildExec({
    config,
    databaseUrl: hub.database.url,
    log,
    sharedStore: memoryNodeStore(),
    guards: { guards: { ...hub.guards, loadShed }, exposeOn: () => undefined, close: async () => undefined },
  })
  cleanUps.push(() => stopInOrder(log, 5_000, [['server', () => app.close()], ...stopSteps]))
  const call = checkedAnswers(app)
  await app.ready()
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

test('a policy that only watches refuses nothing', async () => {
  const call = await planeAt(2)
  const body = { connector: 'watched', operation: 'get', input: {} }
  expect((await call('POST', '/execute', token, { body })).status).toBe(200)
  expect((await call('POST', '/jobs', token, { body })).status).toBe(202)
  expect((await call('POST', '/jobs/batch', token, { body: { jobs: [body] } })).status).toBe(202)
})

test('who is refused is told when to come again', async () => {
  const call = await planeAt(3)
  const answer = await call('GET', '/jobs', token)
  expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '3' } })
})
