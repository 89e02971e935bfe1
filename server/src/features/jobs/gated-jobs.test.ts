/** Jobs that stand for something else: who answers for them is asked before and after, and brings their input. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { sampleClaimed } from '../../../testing/claimed-job.ts'
import { sampleJob } from '../../../testing/queue-fixture.ts'
import { UNLIMITED } from '../../../testing/unlimited.ts'
import { json } from '../../../testing/upstream.ts'
import { Problem } from '../../problems.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { ClaimedJob, Outcome } from '../../queue/job.ts'
import { createWakeUp } from '../../queue/wake-up.ts'
import { CallFailure } from '../../resilience/failure.ts'
import type { JobGate } from './job-gate.ts'
import { jobsControl } from './jobs.control.ts'
import { createJobHandler, type JobHandlerDeps } from './jobs.worker.ts'
import type { InputDeps } from './whole-input.ts'

let hub: CallingHub

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  const { url } = hub.upstream
  const operations = { call: { method: 'POST', path: '/', idempotency_key_header: 'key', body: '{{input}}' } }
  await hub.configure({
    policies: { default: UNLIMITED },
    connectors: {
      api: { kind: 'http', settings: { base_url: url, operations } },
      product: { kind: 'callback', settings: { url }, secrets: { signing_secret: 'signing' } },
    },
  })
})
afterEach(async () => {
  hub.upstream.reset(json(200, {}))
  await hub.query('truncate lane_policy')
})
afterAll(() => hub.close())

const HELD: Outcome = { kind: 'cancelled', held: 'somewhere', why: 'It waits elsewhere.' }
const openGate: JobGate = { before: async () => undefined, after: async () => undefined }

const attempt = (change: Partial<ClaimedJob> = {}, deps: Partial<JobHandlerDeps> = {}): Promise<Outcome> =>
  createJobHandler({
    ...hub,
    platform: { ...hub.database.platform, random: () => 0.5 },
    gate: openGate,
    ...deps,
  })(
    sampleClaimed({
      leaseId: 1,
      tenantId: hub.tenantId,
      connector: 'api',
      operation: 'call',
      input: {},
      ...change,
    }),
    new AbortController().signal,
  )

describe('an attempt', () => {
  test('that is held before calls nobody and reads no input', async () => {
    const gate = { ...openGate, before: async () => HELD }
    const readInput = () => expect.unreachable('nothing is read')
    expect(await attempt({ inputRef: { kind: 'x' } }, { gate, readInput })).toEqual(HELD)
    expect(hub.upstream.requests).toEqual([])
  })

  test('that failed ends as the gate says, and the gate is told how it failed', async () => {
    hub.upstream.reset(json(410, {}))
    const failures: unknown[] = []
    const after = async (_job: ClaimedJob, error: unknown) => {
      failures.push(error instanceof CallFailure && error.httpStatus)
      return HELD
    }
    expect(await attempt({}, { gate: { ...openGate, after } })).toMatchObject(HELD)
    expect(failures).toEqual([410])
  })

  test('whose connector is gone ends as the gate says; without a word of it as a dead letter', async () => {
    const gate = { ...openGate, after: async () => HELD }
    expect(await attempt({ connector: 'nowhere' }, { gate })).toEqual(HELD)
    expect(await attempt({ connector: 'nowhere' })).toMatchObject({
      kind: 'dead',
      reason: 'connector_not_found',
    })
  })

  test('sends the whole input, which is checked as any other', async () => {
    const inputRef = { kind: 'x' }
    const readInput = async (job: { input: unknown }) => ({ ...(job.input as object), rest: 'there' })
    await attempt({ input: { some: 'here' }, inputRef }, { readInput })
    expect(JSON.parse(hub.upstream.requests[0]?.body ?? '')).toEqual({ some: 'here', rest: 'there' })
    const product = { connector: 'product', operation: 'deliver', inputRef }
    expect(await attempt(product, { readInput: async () => 'text' })).toMatchObject({
      reason: 'input_invalid',
    })
  })

  test.each([
    ['was erased is given up', 'payload_erased', { kind: 'cancelled' }],
    ['is gone is a dead letter', 'payload_gone', { kind: 'dead', reason: 'payload_gone' }],
    ['cannot be read now waits', 'payload_store_unavailable', { kind: 'snooze' }],
  ] as const)('of which the input %s', async (_what, code, outcome) => {
    const readInput = async () => {
      throw new Problem(code, 'The bytes are not there.')
    }
    const ended = await attempt({ inputRef: { kind: 'x' } }, { readInput })
    expect(ended).toMatchObject(outcome)
    expect(ended.why).toContain('The bytes are not there.')
  })
})

test('a receiver that aborts ends the message at once, and holds no other back', async () => {
  hub.upstream.reset(json(503, {}, { 'webhook-delivery': 'abort', 'retry-after': '60' }))
  expect(await attempt({ connector: 'product', operation: 'deliver' })).toMatchObject({
    kind: 'dead',
    reason: 'aborted_by_receiver',
    error: { class: 'aborted_by_receiver', httpStatus: 503 },
  })
  expect(await hub.query('select lane from lane_policy where blocked_until > now()')).toEqual([])
})

describe('GET /jobs/:id', () => {
  async function read(readInput: InputDeps['readInput']) {
    const { db, platform } = hub.database
    const wakeUp = createWakeUp(platform)
    const control = await hub.serve(
      (app) => jobsControl(app, { ...hub, db, clock: platform.clock, wakeUp, readInput }),
      'control',
    )
    const job = sampleJob({ tenantId: hub.tenantId, input: { some: 'here' }, inputRef: { kind: 'inbox' } })
    await enqueueJobs(db, [job])
    const scopes = ['orchestrator.control.read', 'orchestrator.jobs.read']
    const token = await hub.access.bearer(hub.tenantId, { scopes })
    const { body } = await control<{ job: { input: unknown; input_missing: unknown } }>(
      'GET',
      `/jobs/${job.id}`,
      token,
    )
    await wakeUp.close()
    return body.job
  }

  test('shows the whole input', async () => {
    const job = await read(async (found) => ({ ...(found.input as object), rest: found.tenantId }))
    expect(job.input).toEqual({ some: 'here', rest: hub.tenantId })
    expect(job.input_missing).toBeNull()
  })

  test('shows what there is, and why it is not more', async () => {
    const job = await read(async () => {
      throw new Problem('payload_erased', 'It was erased.')
    })
    expect(job.input).toEqual({ some: 'here' })
    expect(job.input_missing).toEqual({ code: 'payload_erased', message: 'It was erased.' })
  })
})
