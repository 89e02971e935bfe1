import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type ManualClock, manualClock } from '../../../testing/manual-clock.ts'
import { type QuarantineHub, quarantineHub } from '../../../testing/quarantine-hub.ts'
import { stripe } from '../../../testing/webhook-samples/stripe.ts'
import { newId } from '../../platform/ids.ts'
import { createMetrics, type Metrics } from '../../platform/metrics.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import type { QuarantineLimits } from './quarantine.ts'

const OF_A = 'whsec_of_a'
const OF_B = 'whsec_of_b'
const NOBODYS = 'whsec_of_nobody'
const DAY_MS = 86_400_000

let database: TestDatabase
let clock: ManualClock
let hub: QuarantineHub
let a: string
let b: string
let ofA: WebhookRoute
let claimedByA: WebhookRoute
let metrics: Metrics
const opened: QuarantineHub[] = []

beforeAll(async () => {
  database = await testDatabase()
  open()
  a = await hub.workspace('a-dev')
  b = await hub.workspace('b-dev')
  ofA = await hub.route(a, { secret: OF_A })
  claimedByA = await hub.route(a, { secret: 'whsec_of_the_claim', account: 'acct_of_a' })
  await hub.route(b, { secret: OF_B })
})
afterAll(async () => {
  for (const one of opened) await one.close()
  await database.drop()
})
beforeEach(() => hub.query('delete from quarantine'))

/** Another ingress, with limits of its own, of which nothing is used yet. */
function open(limits: Partial<QuarantineLimits> = {}): QuarantineHub {
  const before = hub as QuarantineHub | undefined
  clock = manualClock()
  metrics = createMetrics('test', false)
  hub = quarantineHub({ ...database.platform, clock, metrics }, limits)
  opened.push(hub)
  for (const [name, value] of before?.secrets ?? []) hub.secrets.set(name, value)
  for (const [name, value] of before?.connectors ?? []) hub.connectors.set(name, value)
  return hub
}

let number = 0
const newEvent = () => {
  number += 1
  return { id: `evt_kept_${number}` }
}
const dropped = async (why: string): Promise<number> => {
  const metric = await metrics.registry
    .getSingleMetric('orchestrator_webhook_quarantine_dropped_total')
    ?.get()
  return (metric?.values ?? []).reduce((sum, { value, labels }) => sum + (labels.why === why ? value : 0), 0)
}

describe('whose it is', () => {
  test('sent to the path of a route: its workspace sees it, with what is inside', async () => {
    const event = newEvent()
    expect(await hub.send({ ...event, secret: NOBODYS, routeId: ofA.id })).toBe('signature_invalid')
    const [row, ...more] = await hub.rows()
    expect(more).toEqual([])
    expect(row).toMatchObject({
      ...{ tenant_id: a, route_id: ofA.id, path_route: ofA.id, reason: 'signature_mismatch', state: 'kept' },
      ...{ authentic: false, sealed: false, livemode: false, seen: 1 },
      events: [
        { ...event, type: 'invoice.paid', accounts: [], livemode: false, reason: 'signature_mismatch' },
      ],
      bytes: stripe.body(event),
      copies: [
        {
          at: clock.now(),
          headers: {
            'content-type': ['application/json; charset=utf-8'],
            'stripe-signature': [expect.stringMatching(/^t=/)],
          },
        },
      ],
    })
  })

  test('too old, but signed by the secret of the route', async () => {
    await hub.send({ ...newEvent(), secret: OF_A, routeId: ofA.id, atMs: clock.now() - DAY_MS })
    expect(await hub.rows()).toMatchObject([{ tenant_id: a, reason: 'timestamp_outside_tolerance' }])
  })

  test('a live event at the path of a route', async () => {
    await hub.send({ ...newEvent(), secret: OF_A, routeId: ofA.id, livemode: true })
    expect(await hub.rows()).toMatchObject([{ tenant_id: a, reason: 'livemode_mismatch', livemode: true }])
  })

  test('only an account that a route claims: sealed, and nothing but the claim is told of it', async () => {
    await hub.send({ ...newEvent(), secret: NOBODYS, account: 'acct_of_a' })
    expect(await hub.rows()).toMatchObject([
      {
        ...{ tenant_id: a, route_id: claimedByA.id, sealed: true, accounts: ['acct_of_a'] },
        ...{ events: [], livemode: null, reason: 'signature_mismatch' },
      },
    ])
  })

  test('a signature that no route verifies, sent to nobody: of no workspace, however few routes there are', async () => {
    await hub.send({ ...newEvent(), secret: NOBODYS })
    const own = await hub.query<{ id: string }>('select id from webhook_route where account is null')
    expect(own).toHaveLength(2)
    expect(await hub.rows()).toMatchObject([{ tenant_id: NO_WORKSPACE, route_id: null }])
  })

  test.each<[string, object, object]>([
    ['an unknown account', { account: 'acct_of_nobody' }, { reason: 'unknown_account' }],
    ['an unknown route', { routeId: newId() }, { reason: 'unknown_route' }],
    ['a path that is no id', { routeId: 'x\0y'.padEnd(300, 'z') }, { reason: 'unknown_route' }],
  ])('%s: of no workspace', async (_, sent, expected) => {
    expect(await hub.send({ ...newEvent(), secret: NOBODYS, ...sent })).toBe('signature_invalid')
    expect(await hub.rows()).toMatchObject([{ tenant_id: NO_WORKSPACE, authentic: false, ...expected }])
  })

  test("one workspace's event at the path of another one: of no workspace, and neither sees it", async () => {
    expect(await hub.send({ ...newEvent(), secret: OF_B, routeId: ofA.id })).toBe('signature_invalid')
    expect(await hub.rows()).toMatchObject([{ tenant_id: NO_WORKSPACE, authentic: true, route_id: null }])
  })

  test('an account that nobody claims, signed by somebody: of no workspace, kept before the answer', async () => {
    expect(await hub.send({ ...newEvent(), secret: OF_A, account: 'acct_of_nobody' })).toBe('quarantined')
    expect(await hub.rows()).toMatchObject([
      { tenant_id: NO_WORKSPACE, authentic: true, reason: 'unknown_account', accounts: ['acct_of_nobody'] },
    ])
  })
})

test('nothing of it is in an inbox or a job', async () => {
  const before = await hub.stored()
  await hub.send({ ...newEvent(), secret: NOBODYS, routeId: ofA.id })
  await hub.send({ ...newEvent(), secret: OF_A, account: 'acct_of_nobody' })
  expect(await hub.rows()).toHaveLength(2)
  expect({ ...(await hub.stored()), event: 0 }).toEqual({ ...before, event: 0 })
})

test('its workspace is told, of a flood only the first', async () => {
  open()
  await hub.query(`delete from event where type = 'webhook.quarantined'`)
  for (let count = 0; count < 10; count += 1)
    await hub.send({ ...newEvent(), secret: NOBODYS, routeId: ofA.id })
  // Of nobody's there would be nobody to read it.
  await hub.send({ ...newEvent(), secret: NOBODYS })
  await hub.send({ ...newEvent(), secret: NOBODYS, account: 'acct_of_a' })
  const told = await hub.query<{ tenant_id: string; severity: string; data: object }>(
    `select tenant_id, severity, data from event where type = 'webhook.quarantined' order by seq`,
  )
  expect(told).toHaveLength(3)
  expect(told[0]).toMatchObject({ tenant_id: a, severity: 'warning', data: { route_id: ofA.id } })
})

describe('the limits', () => {
  afterEach(() => void open())

  test('of one kind of refusal only as many as the rate has; the others and what is authentic come in', async () => {
    open({ perSecond: 2 })
    const flood = () => hub.send({ ...newEvent(), secret: NOBODYS })
    for (let count = 0; count < 15; count += 1) expect(await flood()).toBe('signature_invalid')
    expect(await hub.rows()).toHaveLength(10)
    expect(await dropped('rate')).toBe(5)
    await hub.send({ ...newEvent(), secret: NOBODYS, account: 'acct_of_nobody' })
    expect(await hub.send({ ...newEvent(), secret: OF_A, account: 'acct_of_nobody' })).toBe('quarantined')
    expect(await hub.rows()).toHaveLength(12)
    await clock.advance(1_000)
    for (let count = 0; count < 5; count += 1) await flood()
    expect(await hub.rows()).toHaveLength(14)
  })

  test('what nothing has verified is limited over all kinds, too', async () => {
    open({ perSecond: 1 })
    for (let count = 0; count < 6; count += 1) {
      await hub.send({ ...newEvent(), secret: NOBODYS })
      await hub.send({ ...newEvent(), secret: NOBODYS, account: 'acct_of_nobody' })
      await hub.send({ ...newEvent(), secret: NOBODYS, routeId: newId() })
      await hub.send({ ...newEvent(), secret: NOBODYS, routeId: ofA.id, livemode: true })
    }
    // Of nobody's fifteen; what is sent to the path of a route has a rate of its own.
    expect((await hub.rows()).filter(({ tenant_id }) => tenant_id === NO_WORKSPACE)).toHaveLength(15)
    expect((await hub.rows()).filter(({ tenant_id }) => tenant_id === a)).toHaveLength(5)
  })

  test('a larger body is only counted', async () => {
    open({ maxBodyBytes: 100 })
    expect(await hub.send({ ...newEvent(), secret: NOBODYS })).toBe('signature_invalid')
    expect(await hub.send({ ...newEvent(), secret: OF_A, account: 'acct_of_nobody' })).toBe(
      'webhook_unavailable',
    )
    expect(await hub.rows()).toEqual([])
    expect(await dropped('too_large')).toBe(2)
  })

  test('of what anybody can send a smaller one is enough', async () => {
    open({ maxUnprovenBodyBytes: 100 })
    await hub.send({ ...newEvent(), secret: NOBODYS })
    await hub.send({ ...newEvent(), secret: NOBODYS, account: 'acct_of_a' })
    expect(await hub.rows()).toEqual([])
    expect(await dropped('too_large')).toBe(2)
    await hub.send({ ...newEvent(), secret: NOBODYS, routeId: ofA.id })
    expect(await hub.send({ ...newEvent(), secret: OF_A, account: 'acct_of_nobody' })).toBe('quarantined')
    expect(await hub.rows()).toHaveLength(2)
  })

  test('who signs for accounts that nobody has answers for its room, though it sees none of it', async () => {
    open({ maxRows: 32 })
    const invented = (secret: string) => hub.send({ ...newEvent(), secret, account: 'acct_invented' })
    const answers = []
    for (let count = 0; count < 8; count += 1) answers.push(await invented(OF_A))
    expect(answers.filter((answer) => answer === 'quarantined')).toHaveLength(4)
    expect(answers.slice(4)).toEqual(Array(4).fill('webhook_unavailable'))
    expect(await invented(OF_B)).toBe('quarantined')
    const rows = await hub.query<{ tenant_id: string; because_of: string }>(
      'select tenant_id, because_of from quarantine order by id',
    )
    expect(rows).toEqual([a, a, a, a, b].map((because_of) => ({ tenant_id: NO_WORKSPACE, because_of })))
  })

  test('full: refused as ever; what is authentic has its own part, and is sent again when that is full, too', async () => {
    open({ maxRows: 16 })
    for (let count = 0; count < 8; count += 1)
      expect(await hub.send({ ...newEvent(), secret: NOBODYS })).toBe('signature_invalid')
    expect(await hub.rows()).toHaveLength(2)
    const metric = await metrics.registry
      .getSingleMetric('orchestrator_webhook_quarantine_evicted_total')
      ?.get()
    expect(metric?.values).toMatchObject([{ labels: { share: 'nobody' }, value: 6 }])
    const authentic = () => hub.send({ ...newEvent(), secret: OF_A, account: 'acct_of_nobody' })
    expect(await authentic()).toBe('quarantined')
    expect(await authentic()).toBe('quarantined')
    expect(await authentic()).toBe('webhook_unavailable')
    expect(await hub.rows()).toHaveLength(4)
  })

  test('the same bytes again raise a counter', async () => {
    const event = newEvent()
    for (let count = 0; count < 3; count += 1) {
      await clock.advance(1_000)
      await hub.send({ ...event, secret: NOBODYS, routeId: ofA.id })
    }
    const [row, ...more] = await hub.rows()
    expect(more).toEqual([])
    expect(row).toMatchObject({ seen: 3, copies: [{}, {}, {}] })
  })

  test('a refusal is not slowed down by a database that is', async () => {
    const held = database.owner.transaction(async (tx) => {
      await tx.execute({ name: '', text: "select pg_advisory_xact_lock(hashtext('keep_in_quarantine'))" }, [])
      const answers = await Promise.all(
        [1, 2, 3].map(() =>
          hub.keep({
            request: {
              ...{
                routeId: undefined,
                raw: Buffer.from(newEvent().id),
                headers: {},
                url: undefined,
              },
              provider: { name: 'stripe', keptHeaders: [] } as never,
              call: { requestId: 'r', correlationId: 'c', traceId: 't', traceparent: '' },
            },
            refused: [{ found: false, event: undefined, cause: 'signature_missing', authentic: false }],
          }),
        ),
      )
      expect(answers).toEqual([true, true, true])
    })
    await held
    await hub.settled()
    expect(await hub.rows()).toHaveLength(3)
  })
})
