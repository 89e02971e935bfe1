import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { capturedLog } from '../../../testing/captured-log.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { createDial } from '../../platform/dial/dial.ts'
import { newId } from '../../platform/ids.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { onboardingControl } from './onboarding.control.ts'
import type { RunView } from './onboarding.schema.ts'
import { createSearchText, createVerifications, type Verifications } from './onboarding.ts'

/** Nobody listens there: a run ends with its first line. */
const NOWHERE = 'http://127.0.0.1:1'
const WITHIN = { timeout: 20_000, interval: 20 }

let hub: CallingHub
let call: CallServer
let token: string
let verifications: Verifications
const { log, text } = capturedLog()

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  const { db, platform } = hub.database
  verifications = createVerifications({
    ...{ db, log, clock: platform.clock },
    // The platform of the test has one dial already.
    dial: createDial({ allowCidrs: ['127.0.0.0/8'], metrics: createMetrics('onboarding', false), log }),
    urls: { control: NOWHERE, exec: NOWHERE, ingress: NOWHERE, worker: NOWHERE },
    environment: 'dev',
    kept: 'events 30 days',
    search: createSearchText({ db, clock: platform.clock, logFile: undefined }),
    readRef: async () => {
      throw new Error('no secret is asked for before control answers')
    },
  })
  call = await hub.serve((app) =>
    onboardingControl(app, {
      verifications,
      directory: hub.access.directory,
      environment: 'dev',
      targetUrl: undefined,
    }),
  )
  token = await hub.access.bearer(hub.tenantId)
})
afterAll(async () => {
  await verifications.close()
  await hub.close()
})

const path = (id = hub.tenantId) => `/workspaces/${id}/verify`
const start = () => call<RunView>('POST', path(), token, { body: { reason: 'a look' } })
const ended = (id: string) =>
  vi.waitFor(async () => {
    const { body } = await call<RunView>('GET', `${path()}/${id}`, token)
    expect(body.state).not.toBe('running')
    return body
  }, WITHIN)

test('a run whose control does not answer fails with one line that says what to do, and ends its identity', async () => {
  const { status, body, headers } = await start()
  expect([status, body.state, body.reason]).toEqual([202, 'running', 'a look'])
  expect(headers.location).toBe(`${path()}/${body.id}`)
  const run = await ended(body.id)
  expect(run).toMatchObject({
    state: 'failed',
    lines: [{ name: 'control', status: 'failed', detail: expect.stringContaining(NOWHERE) }],
  })
  expect(run.lines[0]?.mend).toMatch(/CONTROL_URL/)
  const living = await hub.query(
    'select name from service_identity where tenant_id = $1 and revoked_at is null',
    [hub.tenantId],
  )
  expect(living).toEqual([])
  expect(text()).not.toContain('"level":"error"')
})

test('while one runs, another one of the workspace is refused; a silent one is told as broken off, and keeps no other one from beginning', async () => {
  const id = newId()
  await hub.query(
    `insert into onboarding_run (tenant_id, id, started_by, reason) values ($1, $2, 'svc:other', 'first')`,
    [hub.tenantId, id],
  )
  expect(await start()).toMatchObject({ status: 409, body: { code: 'conflict' } })
  await hub.query(`update onboarding_run set alive_at = now() - interval '61 s' where id = $1`, [id])
  // Also when nobody begins another one: whoever asks is told.
  expect((await call<RunView>('GET', `${path()}/${id}`, token)).body.state).toBe('broken_off')
  const { body } = await start()
  await ended(body.id)
})

test('another workspace and a run of it are not there, whoever asks', async () => {
  const other = await hub.access.workspace('elsewhere-dev')
  const { body } = await start()
  const theirs = await hub.access.bearer(other.id)
  const foreign = [
    await call('POST', path(), theirs, { body: { reason: 'a look' } }),
    await call('GET', `${path()}/${body.id}`, theirs),
    await call('GET', `${path(other.id)}/${body.id}`, theirs),
    await call('GET', `${path(newId())}/${body.id}`, theirs),
  ]
  for (const answer of foreign) expect(answer).toMatchObject({ status: 404, body: { code: 'not_found' } })
  await ended(body.id)
})

test('reading is not enough to run it', async () => {
  const reader = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.control.read'] })
  expect(await call('POST', path(), reader, { body: { reason: 'a look' } })).toMatchObject({ status: 403 })
})
