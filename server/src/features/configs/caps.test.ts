import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { claimLane, clearQueue, registerNode, sampleJob } from '../../../testing/queue-fixture.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import { pauseLane, pauseTenant } from '../../queue/pause.ts'
import { activateConfig, type ConfigDocument } from './configs.ts'

let hub: CallingHub
beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
})
afterEach(() => clearQueue(hub.database.owner, undefined))
afterAll(() => hub.close())

const http = (policy?: string) => ({
  kind: 'http',
  settings: { base_url: 'https://api.example.com', operations: { get: { method: 'GET', path: '/' } } },
  ...(policy && { policy }),
})
const connectors = { api: http('narrow'), mail: http() }
const uncapped = { policies: { narrow: {} }, connectors }
const capped = {
  policies: {
    default: { concurrency: { max_running: 5, workspace_max_running: 6, workspace_weight: 7 } },
    narrow: { concurrency: { max_running: 2 } },
  },
  connectors,
}

/** Jobs that a claim gets from a lane with ten waiting. */
async function claimable(lane: number): Promise<number> {
  await clearQueue(hub.database.owner, undefined)
  const nodeId = await registerNode(hub.database.db)
  const jobs = Array.from({ length: 10 }, () => sampleJob({ tenantId: hub.tenantId, lane }))
  await enqueueJobs(hub.database.db, jobs)
  return (await claimLane(hub.database.claimDb, nodeId, { ...sampleJob(hub), lane })).jobs.length
}
const caps = async () =>
  (
    await hub.query<{ lane: number; max_running: number | null }>(
      'select lane, max_running from lane_policy where tenant_id = $1 order by lane',
      [hub.tenantId],
    )
  ).map(({ lane, max_running }) => [lane, max_running])
const workspaceCap = async () =>
  (
    await hub.query<{ max_running: number | null; weight: number }>(
      'select max_running, weight from tenant_policy where tenant_id = $1',
      [hub.tenantId],
    )
  )[0]

test('caps of policies hold in the queue as long as their config is active', async () => {
  await hub.configure(uncapped)
  expect(await caps()).toEqual([])
  expect(await workspaceCap()).toBeUndefined()

  const version = await hub.configure(capped)
  expect(await caps()).toEqual([
    [1, 2],
    [2, 5],
  ])
  expect(await workspaceCap()).toEqual({ max_running: 6, weight: 7 })
  expect([await claimable(1), await claimable(2)]).toEqual([2, 5])

  const policies = { ...uncapped.policies, default: { concurrency: { workspace_max_running: 3 } } }
  await hub.configure({ policies, connectors })
  expect(await caps()).toEqual([
    [1, null],
    [2, null],
  ])
  expect(await claimable(1)).toBe(3)
  expect(await workspaceCap()).toEqual({ max_running: 3, weight: 1 })

  await activateConfig(hub.configDeps, { tenantId: hub.tenantId }, version, CHANGE)
  expect(await claimable(1)).toBe(2)
  expect(await caps()).toEqual([
    [1, 2],
    [2, 5],
  ])
})

test('a change of caps leaves pauses alone; a connector that goes takes its cap along', async () => {
  const by = { tenantId: hub.tenantId, actor: 'op', why: 'a test' }
  await pauseLane(hub.database.db, { ...by, lane: 1 })
  await pauseTenant(hub.database.db, by)
  await hub.configure({ ...capped, connectors: { api: http() } })
  expect((await caps()).filter(([, cap]) => cap !== null)).toEqual([[1, 5]])
  expect(await hub.query('select paused_why from lane_policy where paused_at is not null')).toHaveLength(1)
  expect(await hub.query('select from tenant_policy where paused_at is not null')).toHaveLength(1)
})

test('a share alone is given to the queue, too, and goes with its config', async () => {
  await hub.query('truncate tenant_policy')
  const weighing = { ...uncapped.policies, default: { concurrency: { workspace_weight: 100 } } }
  await hub.configure({ policies: weighing, connectors })
  expect(await workspaceCap()).toEqual({ max_running: null, weight: 100 })
  await hub.configure(uncapped)
  expect(await workspaceCap()).toEqual({ max_running: null, weight: 1 })
})

test.each([
  ['workspace_max_running', 3],
  ['workspace_weight', 3],
])('%s stands in the default policy only', async (field, value) => {
  const policies = { narrow: { concurrency: { [field]: value } } }
  await expect(hub.configure({ policies, connectors })).rejects.toMatchObject({
    code: 'config_invalid',
    extra: { details: [{ path: `/policies/narrow/concurrency/${field}` }] },
  })
})

test.each([0, 101, 1.5, '3'])('a share of %s is refused', async (workspace_weight) => {
  const policies = { default: { concurrency: { workspace_weight } } } as ConfigDocument['policies']
  await expect(hub.configure({ policies, connectors })).rejects.toMatchObject({ code: 'config_invalid' })
})
