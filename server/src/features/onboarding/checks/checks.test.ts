/** Each check passes on a sound hub and fails on one that lies about exactly what it is there to prove. */
import { describe, expect, test } from 'vitest'
import { capturedLog } from '../../../../testing/captured-log.ts'
import { type Lie, lyingStage } from '../../../../testing/lying-stage.ts'
import type { Check } from '../check.ts'
import { nothingLeft } from '../onboarding.ts'
import { changeDocument } from '../plane-documents.ts'
import { runCheck } from '../run-checklist.ts'
import type { Stage } from '../stage.ts'
import { accountOf, CONNECTORS } from '../stage-names.ts'
import { connectors, connectorsCallable } from './connectors.ts'
import { execute } from './execute.ts'
import * as isolation from './isolation.ts'
import { polling } from './jobs.ts'
import { outage } from './outage.ts'
import { retention } from './retention.ts'
import { secretsNotInDatabase, secretsNotInLog } from './secrets.ts'
import { tokens } from './tokens.ts'
import { duplicate, routing, webhook } from './webhook.ts'

const { log } = capturedLog()
const lineOf = (check: Check, stage: Stage) => runCheck(check, stage, new Map(), { clock: stage.clock, log })

/** Checks that others must have gone before. */
const AFTER_WEBHOOK = new Set<Check>([duplicate, routing, isolation.events])

/** What the ground is made of is not lied about. */
async function lineWith(check: Check, lie: Lie) {
  const sound = lyingStage()
  if (!AFTER_WEBHOOK.has(check)) return lineOf(check, lyingStage(lie))
  expect(await lineOf(webhook, sound)).toMatchObject({ status: 'passed' })
  const stage = lyingStage(lie)
  Object.assign(stage.trail, sound.trail)
  // The first copy came to this hub as well.
  if (check !== isolation.events && sound.trail.webhook)
    await stage.ingress.call('/webhooks/stripe', { body: sound.trail.webhook.payload })
  return lineOf(check, stage)
}

const status = (to: number, body?: object) => (honest: { body?: unknown }) => ({
  ...honest,
  status: to,
  ...(body && { body }),
})
const merged = (more: object) => (honest: { status: number; body?: unknown }) => ({
  ...honest,
  body: { ...(honest.body as object), ...more },
})
const data = (...items: object[]) => merged({ data: items, next_cursor: null })

const STRANGER = `${accountOf(lyingStage().runId)}stranger`
const plain = new RegExp(CONNECTORS.plain)
const few = new RegExp(CONNECTORS.few)
const inNeighbour = 'neighbourExec'

const LIES: [Check, string, Lie, RegExp][] = [
  [
    tokens,
    'the other audience is let in',
    { plane: 'control', token: 'of exec', answer: status(200) },
    /200 to a token of the other/,
  ],
  [tokens, 'nobody is let in', { plane: 'exec', token: null, answer: status(200) }, /200 without a token/],
  [
    tokens,
    'a token of its own is refused',
    { plane: 'exec', token: 'of exec', answer: status(401) },
    /401 to a token of its own/,
  ],
  [
    connectors,
    'nothing is decided',
    { plane: 'control', path: /effective/, answer: merged({ sources: { timeouts: 'system' } }) },
    /No policy of the workspace/,
  ],
  [
    connectorsCallable,
    'exec does not have it',
    { plane: 'exec', answer: status(404, { code: 'connector_not_found' }) },
    /404 .*connector_not_found/,
  ],
  [
    connectorsCallable,
    'it was sent',
    { plane: 'exec', answer: merged({ served_from: 'upstream' }) },
    /could not carry out/,
  ],
  [
    execute,
    'the output is made up',
    { plane: 'exec', sent: /look/, answer: merged({ output: {} }) },
    /not the upstream’s/,
  ],
  [
    execute,
    'a repeated call runs again',
    { plane: 'exec', sent: /take/, answer: merged({ idempotency: { replayed: false } }) },
    /one Idempotency-Key/,
  ],
  [execute, 'a replay has an effect', { seen: (_name, count) => count * 2 }, /had 2 effects/],
  [
    outage,
    'it never opens',
    { plane: 'exec', sent: /wait/, answer: status(504, { code: 'upstream_timeout' }) },
    /did not open .* ended with 504 upstream_timeout/,
  ],
  [
    outage,
    'only limits answer',
    { plane: 'exec', sent: /wait/, answer: status(429, { code: 'rate_limited' }) },
    /429 rate_limited/,
  ],
  [
    outage,
    'it is tried once',
    { seen: (name, count) => (name === 'slow' ? Math.min(count, 1) : count) },
    /not tried again.* seen: \d attempts/,
  ],
  [
    webhook,
    'the first copy is a duplicate',
    { plane: 'ingress', answer: merged({ duplicate: true }) },
    /called a duplicate/,
  ],
  [webhook, 'it is not taken', { plane: 'ingress', answer: status(401) }, /did not take/],
  [
    webhook,
    'the path breaks off',
    { plane: 'control', path: /trace_id/, answer: data({ type: 'webhook.received' }) },
    /did not go all the way/,
  ],
  [
    webhook,
    'the signature is another',
    { signing: `whsec_${Buffer.from('other').toString('base64')}` },
    /does not verify/,
  ],
  [webhook, 'two callbacks', { seen: (_name, count) => count * 2 }, /got 2 callbacks/],
  [
    duplicate,
    'it is a new one',
    { plane: 'ingress', answer: merged({ duplicate: false }) },
    /duplicate: false/,
  ],
  [
    duplicate,
    'it is another entry',
    { plane: 'ingress', answer: merged({ inbox_id: 'other' }) },
    /second copy/,
  ],
  [
    duplicate,
    'it makes a job',
    {
      plane: 'control',
      path: /trace_id/,
      answer: data({ type: 'webhook.duplicate' }, { type: 'job.queued' }),
    },
    /made a job/,
  ],
  [
    routing,
    'a stranger is let in',
    { plane: 'ingress', sent: /stranger/, answer: status(200) },
    /answered 200/,
  ],
  [
    routing,
    'a stranger is taken for somebody',
    { plane: 'ingress', sent: /stranger/, answer: status(202, { received: true }) },
    /answered 202 and not put into quarantine/,
  ],
  [
    routing,
    'a stranger stands in the inbox',
    {
      plane: 'control',
      path: /inbox/,
      answer: data({ id: 'inbox' }, { id: 'x', account: STRANGER }),
    },
    /stands in the inbox/,
  ],
  [
    polling,
    'the job does not end',
    { plane: 'exec', path: /^\/jobs\//, answer: merged({ job: { state: 'running' } }) },
    /did not become done/,
  ],
  [
    polling,
    'events keep the end to themselves',
    { plane: 'exec', path: /events/, answer: data({ id: 'e', type: 'job.queued', job_id: 'job' }) },
    /did not tell the end/,
  ],
  [
    isolation.events,
    'a job is seen',
    { plane: inNeighbour, path: /jobs\/job/, answer: status(200) },
    /answered 200 to a token of another/,
  ],
  [
    isolation.events,
    'it is said that a job exists',
    { plane: inNeighbour, path: /jobs\/job/, answer: merged({ detail: 'Not yours.' }) },
    /answered 404/,
  ],
  [
    isolation.events,
    'events are read by trace',
    { plane: 'neighbourControl', path: /trace_id/, answer: data({ type: 'x' }) },
    /reads 1 events/,
  ],
  [
    isolation.events,
    'a webhook stands in both inboxes',
    { plane: 'neighbourControl', path: /inbox/, answer: data({ id: 'inbox' }) },
    /inbox of another/,
  ],
  [
    isolation.secrets,
    'refs are listed',
    { plane: 'neighbourControl', path: /refs\?/, answer: data({ name: 'orch-verify-signing-0123456789ab' }) },
    /lists the secret refs/,
  ],
  [
    isolation.secrets,
    'a ref is read',
    { plane: 'neighbourControl', path: /refs\/.*signing/, answer: status(200) },
    /answered 200/,
  ],
  [
    isolation.secrets,
    'a connector is called',
    { plane: inNeighbour, sent: plain, answer: status(200) },
    /200/,
  ],
  [
    isolation.secrets,
    'a connector is refused for another reason',
    { plane: inNeighbour, sent: plain, answer: status(403, { code: 'forbidden' }) },
    /403 .*forbidden/,
  ],
  [
    isolation.limits,
    'nothing is limited',
    { plane: 'exec', sent: few, answer: status(200) },
    /passed a limit of four/,
  ],
  [
    secretsNotInLog,
    'a value stands there',
    {
      stage: {
        search: {
          ...lyingStage().search,
          log: async () => ({ hits: [{ name: 'api-token', place: 'the log x' }], looked: 1, left: [] }),
        },
      },
    },
    /api-token stands in the log/,
  ],
  [
    secretsNotInDatabase,
    'a value stands there',
    {
      stage: {
        search: {
          ...lyingStage().search,
          database: async () => ({
            hits: [{ name: 'api-token', place: 'the table job' }],
            looked: 1,
            left: [],
          }),
        },
      },
    },
    /the table job/,
  ],
  [
    retention,
    'nobody leads',
    { stage: { retention: { kept: '', isLed: async () => false } } },
    /No worker .* 75 s/,
  ],
]

describe.each([...new Set(LIES.map(([check]) => check))].map((check) => [check.name, check] as const))(
  '%s',
  (_name, check) => {
    /** Their values belong to secrets of a product, not of the run. */
    const ground: Lie =
      check === secretsNotInLog || check === secretsNotInDatabase
        ? { plane: 'control', path: /secret-refs/, answer: data({ name: 'api-token', ref: 'env://X' }) }
        : {}

    test('passes on a sound hub', async () => {
      expect(await lineWith(check, ground)).toMatchObject({ status: 'passed' })
    })

    test.each(LIES.filter(([of]) => of === check).map(([, what, lie, text]) => ({ what, lie, text })))(
      'fails when $what',
      async ({ lie, text }) => {
        const line = await lineWith(check, { ...ground, ...lie })
        expect([line.status, line.detail]).toEqual(['failed', expect.stringMatching(text)])
        expect(line.mend).toMatch(/\S/)
      },
    )
  },
)

test('isolation-limits fails when another workspace pays for it', async () => {
  const calls: number[] = []
  const answer = () => ({ status: calls.push(1) > 1 ? 429 : 200, body: { code: 'rate_limited' } })
  const line = await lineOf(isolation.limits, lyingStage({ plane: inNeighbour, sent: few, answer }))
  expect(line).toMatchObject({
    status: 'failed',
    detail: expect.stringContaining('another one was answered 429'),
  })
})

test('timeout-retry-breaker fails when an open breaker lets a call through', async () => {
  const slow: number[] = []
  const line = await lineOf(
    outage,
    lyingStage({ seen: (name, count) => (name === 'slow' ? count + slow.push(1) : count) }),
  )
  expect(line).toMatchObject({ status: 'failed', detail: expect.stringContaining('With the breaker open') })
})

test('retention waits for the worker that follows one that has died', async () => {
  const looks: number[] = []
  const isLed = async () => looks.push(1) > 600
  const line = await lineOf(retention, lyingStage({ stage: { retention: { kept: 'long', isLed } } }))
  expect(line).toMatchObject({ status: 'passed', detail: 'long' })
})

test('nothing-left fails when something could not be taken away, and says what to do', async () => {
  const check = nothingLeft(async () => {
    await lyingStage({ plane: 'control', answer: status(500) }).control.want('/secret-refs')
  })
  expect(await lineOf(check, lyingStage())).toMatchObject({
    status: 'failed',
    mend: expect.stringMatching(/again/),
  })
})

test('a workspace at its limits is told which quota to raise', async () => {
  const answer = status(422, { code: 'quota_exceeded', quota: 'config_versions', detail: 'It has 3.' })
  const full = lyingStage({ plane: 'control', path: /^\/configs$/, answer })
  const check: Check = {
    ...{ name: 'x', proves: 'x', mend: 'x' },
    run: async ({ control }) => {
      await changeDocument(control, 'a test', (own) => ({ ...own, policies: { more: {} } }))
      return { status: 'passed', detail: '' }
    },
  }
  expect(await lineOf(check, full)).toMatchObject({
    status: 'failed',
    mend: expect.stringContaining('Raise the quota `config_versions`'),
  })
})
