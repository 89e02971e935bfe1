/** What becomes of runs whose process died, or that were taken for dead. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { capturedLog } from '../../../testing/captured-log.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { createDial } from '../../platform/dial/dial.ts'
import { newId } from '../../platform/ids.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { createWorkspace, deleteWorkspace, setWorkspaceStatus } from '../workspaces/workspaces.ts'
import { enterNeighbour, findNeighbour, settleNeighbour } from './neighbour.ts'
import * as sql from './onboarding.sql.ts'
import { createSearchText, createVerifications } from './onboarding.ts'
import { endRunIdentities, makeRunIdentity } from './run-identity.ts'
import { sweepLeftRuns } from './sweep.ts'

const environment = 'dev' as const
const { log, text } = capturedLog()
let hub: CallingHub
/** Takes calls and never answers. */
let silent: Server
let tenantId: string
let made = 0

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  silent = createServer(() => undefined)
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  silent.closeAllConnections()
  silent.close()
  await hub.close()
})
beforeEach(async () => {
  await hub.query('update onboarding_run set cleared = true, sweeping = false')
  made += 1
  tenantId = (await hub.access.workspace(`left${made}-dev`)).id
})

const db = () => hub.database.db
const begin = async (silentSeconds = 0): Promise<{ tenantId: string; id: string }> => {
  const key = { tenantId, id: newId() }
  await sql.insertRun(db(), { ...key, startedBy: 'svc:a', reason: 'a' })
  await hub.query(`update onboarding_run set alive_at = now() - $2 * interval '1 s' where id = $1`, [
    key.id,
    silentSeconds,
  ])
  return key
}
const claim = () => sql.claimSweep(db(), { environment, mostSweeps: 2, againMs: 0 })
const breakOff = () => sql.breakOffSilent(db(), { tenantId: null, silentMs: 60_000 })
const livingIdentities = () =>
  hub.query('select name from service_identity where tenant_id = $1 and revoked_at is null', [tenantId])

test('a silent run is cleared up after by one process, while no other run of the workspace begins', async () => {
  const dead = await begin(61)
  await breakOff()
  expect(await claim()).toMatchObject({ id: dead.id })
  expect(await claim()).toBeUndefined()
  await expect(begin()).rejects.toMatchObject({ code: '23505' })
  await sql.endSweep(db(), { ...dead, cleared: true })
  expect(await claim()).toBeUndefined()
  await begin()
})

test('a living run is left alone, and what it has found and cleared up is not looked for again', async () => {
  await begin(61)
  await breakOff()
  const next = await begin()
  await breakOff()
  expect(await claim()).toBeUndefined()
  await sql.clearedRuns(db(), { tenantId, before: next.id })
  await sql.endRun(db(), { ...next, state: 'passed', lines: [], cleared: true })
  expect(await claim()).toBeUndefined()
})

test('a sweep that fails ends the identity all the same, and is tried again, though not for ever', async () => {
  const dead = await begin(61)
  await makeRunIdentity(db(), { tenantId, change: CHANGE })
  const deps = { db: db(), log, environment, urls: { control: 'http://127.0.0.1:1' } }
  expect(await sweepLeftRuns(deps, new AbortController().signal)).toBe(1)
  expect(await livingIdentities()).toEqual([])
  const [row] = await hub.query('select state, cleared, sweeping, sweeps from onboarding_run where id = $1', [
    dead.id,
  ])
  expect(row).toEqual({ state: 'broken_off', cleared: false, sweeping: false, sweeps: 1 })
  expect(await claim()).toMatchObject({ id: dead.id })
  await sql.endSweep(db(), { ...dead, cleared: false })
  expect(await claim()).toBeUndefined()
})

test('a run that was taken for dead breaks itself off, and ends no identity but its own', async () => {
  const { platform } = hub.database
  const { port } = silent.address() as AddressInfo
  const control = `http://127.0.0.1:${port}`
  const verifications = createVerifications({
    ...{ db: db(), log, environment, kept: '' },
    // It says often that it lives.
    clock: { ...platform.clock, sleep: (ms, signal) => platform.clock.sleep(Math.min(ms, 20), signal) },
    dial: createDial({ allowCidrs: ['127.0.0.0/8'], metrics: createMetrics('left', false), log }),
    urls: { control, exec: control, ingress: control, worker: control },
    search: createSearchText({ db: db(), clock: platform.clock, logFile: undefined }),
    readRef: async () => {
      throw new Error('no secret is asked for before control answers')
    },
  })
  const subject = { tenantId, slug: `left${made}-dev`, environment }
  const run = await verifications.start({ subject, targetUrl: undefined, change: CHANGE })
  await vi.waitFor(async () => expect(await livingIdentities()).toHaveLength(1))
  await hub.query(`update onboarding_run set state = 'broken_off', ended_at = now() where id = $1`, [run.id])
  await vi.waitFor(() => expect(text()).toContain('has broken itself off'))
  expect(await verifications.find({ tenantId, id: run.id })).toMatchObject({ state: 'broken_off', lines: [] })
  const successor = await makeRunIdentity(db(), { tenantId, change: CHANGE })
  await endRunIdentities(db(), { tenantId, change: CHANGE, only: newId() })
  expect(await livingIdentities()).toHaveLength(1)
  await endRunIdentities(db(), { tenantId, change: CHANGE, only: successor.id })
  expect(await livingIdentities()).toEqual([])
  await verifications.close()
})

test('the neighbour is made by the hub alone, is not deleted, and the next one has a number', async () => {
  const deps = { db: db(), environment }
  const slug = 'onboarding-neighbour-dev'
  await expect(createWorkspace(deps, { slug, name: 'x' }, CHANGE)).rejects.toMatchObject({
    code: 'validation_error',
  })
  const enter = () =>
    enterNeighbour(
      { ...deps, urls: { control: 'http://127.0.0.1:1', exec: 'http://127.0.0.1:1' } },
      {
        ...{ change: CHANGE, reason: 'a', baseUrl: 'http://127.0.0.1:1' },
        signal: new AbortController().signal,
        holds: async () => true,
      },
    )
  await expect(enter()).rejects.toMatchObject({ name: 'NotShown' })
  const first = await findNeighbour(db(), environment)
  expect(first).toMatchObject({ slug, status: 'suspended' })
  const id = first?.id ?? ''
  await expect(deleteWorkspace(deps, { id, confirm: slug, graceDays: 1 }, CHANGE)).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('cannot be deleted'),
  })
  await hub.query(
    `update workspace set status = 'deleted', status_at = now(), status_by = 'a', status_reason = 'a',
       delete_after = now() where id = $1`,
    [id],
  )
  await expect(enter()).rejects.toMatchObject({ name: 'NotShown' })
  const second = await findNeighbour(db(), environment)
  expect(second).toMatchObject({ slug: 'onboarding-neighbour-2-dev', status: 'suspended' })
  await setWorkspaceStatus(deps, { id: second?.id ?? '', status: 'active' }, CHANGE)
  await settleNeighbour(deps, CHANGE)
  expect(await findNeighbour(db(), environment)).toMatchObject({ status: 'suspended' })
})
