import { connect, createServer, type Server, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import {
  type TestDatabase,
  type TestPlatform,
  testDatabase,
  testPlatform,
} from '../../../testing/database.ts'
import { type WebhookHub, webhookHub } from '../../../testing/webhook-hub.ts'
import { stripe, stripeSignature } from '../../../testing/webhook-samples/stripe.ts'
import { newId } from '../../platform/ids.ts'
import { PROVIDERS } from './providers/registry.ts'
import { forgetExpiredEvents } from './webhooks.ts'

const SECRET = 'whsec_of_a'

/** A way to the database that can be cut: what a lost server looks like from here. */
async function cuttable(url: string) {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  const open = (port: number): Promise<Server> => {
    const server = createServer((near) => {
      const far = connect(Number(target.port), target.hostname)
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(from)
        from.pipe(to)
        from.on('error', () => to.destroy())
        from.on('close', () => {
          sockets.delete(from)
          to.destroy()
        })
      }
    })
    return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)))
  }
  let server = await open(0)
  const { port } = server.address() as { port: number }
  const through = new URL(url)
  through.hostname = '127.0.0.1'
  through.port = String(port)
  const cut = async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await closed
  }
  return {
    url: through.href,
    cut,
    mend: async () => {
      server = await open(port)
    },
  }
}

let database: TestDatabase
let wire: Awaited<ReturnType<typeof cuttable>>
let platform: TestPlatform
let hub: WebhookHub
let a: string
const captured = capturedLog()

beforeAll(async () => {
  database = await testDatabase()
  wire = await cuttable(database.url)
  platform = testPlatform(wire.url, { log: captured.log })
  hub = webhookHub(platform)
  a = await hub.workspace('a-dev')
  await hub.route(a, { secret: SECRET })
})

afterAll(async () => {
  await hub.close()
  await platform.notifications.close()
  await platform.db.close()
  await wire.cut()
  await database.drop()
})

const provider = PROVIDERS.get('stripe')
if (!provider) throw new Error('there is no Stripe')

const call = { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' }

const send = (raw: Buffer, secret = SECRET) =>
  hub.accept({
    provider,
    routeId: undefined,
    url: undefined,
    raw,
    headers: { 'stripe-signature': [stripeSignature(raw, [secret], Date.now())] },
    call,
  })

const taken = async (raw: Buffer, secret?: string) => {
  const answer = await send(raw, secret)
  const [first] = answer.kind === 'taken' ? answer.events : []
  return first ?? expect.unreachable('it was not taken')
}

const newEvent = (account?: string) =>
  stripe.body({ id: `evt_${newId()}`, ...(account !== undefined && { account }) })

const unavailable = (code: string) => ({
  code,
  status: 503,
  extra: { retryAfterSeconds: expect.any(Number) },
})

describe('with the database away', () => {
  it('asks the provider to send again, and takes the event when it is back', async () => {
    const event = newEvent()
    await send(newEvent())
    await wire.cut()
    try {
      await expect(send(event)).rejects.toMatchObject(unavailable('database_unavailable'))
      // Nothing can be said about a sender either: a refusal would make the provider give up.
      await expect(send(newEvent('acct_unknown'))).rejects.toMatchObject(unavailable('database_unavailable'))
    } finally {
      await wire.mend()
    }
    expect(await taken(event)).toMatchObject({ duplicate: false })
    expect(await send(event)).toMatchObject({ events: [{ duplicate: true }] })
  })
})

describe('when something in the middle fails', () => {
  afterEach(() => hub.query('drop trigger if exists fail on event'))

  it('stores nothing at all, answers 503 without saying why, and takes the event later', async () => {
    await hub.query(`create or replace function fail() returns trigger language plpgsql
      as $$ begin raise exception 'the disk said no'; end $$`)
    await hub.query('create trigger fail before insert on event for each row execute function fail()')
    const before = await hub.stored()
    const event = newEvent()
    const refused = await send(event).then(undefined, (error: unknown) => error)
    expect(refused).toMatchObject(unavailable('webhook_unavailable'))
    expect(String(refused)).not.toContain('disk')
    expect(captured.text()).toContain('the disk said no')
    expect(await hub.stored()).toEqual(before)
    await hub.query('drop trigger fail on event')
    expect(await taken(event)).toMatchObject({ duplicate: false })
  })

  it('holds what has nowhere to go, and says why, instead of losing it', async () => {
    const why = async ({ inboxId }: { inboxId: string }) =>
      hub.query('select state, held_why, job_id from webhook_inbox where id = $1', [inboxId])
    const lane = hub.connectors.get(`${a}/product`)
    hub.connectors.delete(`${a}/product`)
    const homeless = await taken(newEvent())
    if (lane) hub.connectors.set(`${a}/product`, lane)
    expect(await why(homeless)).toEqual([{ state: 'held', held_why: 'connector_missing', job_id: null }])

    const b = await hub.workspace('b-dev')
    await hub.query(`update workspace set status = 'suspended' where id = $1`, [b])
    await hub.route(b, { secret: 'whsec_b', account: 'acct_b' })
    const suspended = await taken(newEvent('acct_b'), 'whsec_b')
    expect(await why(suspended)).toEqual([{ state: 'held', held_why: 'workspace_suspended', job_id: null }])
  })

  it('knows the account of a workspace that is being deleted no more', async () => {
    const b = await hub.workspace('c-dev')
    await hub.query(
      `update workspace set status = 'deleting', status_before = 'active', delete_after = now() + interval '7 days'
       where id = $1`,
      [b],
    )
    await hub.route(b, { secret: 'whsec_c', account: 'acct_c' })
    const before = await hub.stored()
    const [theirs, nobodys] = await Promise.all(
      ['acct_c', 'acct_nobody'].map((account) =>
        send(newEvent(account), 'whsec_c').catch((error: unknown) => error),
      ),
    )
    expect(theirs).toMatchObject({ code: 'signature_invalid' })
    expect(theirs).toEqual(nobodys)
    expect(await hub.stored()).toEqual(before)
  })
})

describe('routes that change', () => {
  it('are known to the next event after their commit', async () => {
    for (let round = 1; round <= 20; round += 1) {
      await hub.route(a, { secret: `whsec_${round}`, account: `acct_${round}` })
      await expect(send(newEvent(`acct_${round}`), `whsec_${round}`)).resolves.toMatchObject({
        events: [{ duplicate: false }],
      })
    }
  })

  it('are checked in the transaction: a deleted one takes nothing, whatever the memory says', async () => {
    const route = await hub.route(a, { secret: 'whsec_gone', account: 'acct_gone' })
    await send(newEvent('acct_gone'), 'whsec_gone')
    const before = await hub.stored()
    // Without the trigger nobody is told, as if the hint were late.
    await hub.query('alter table webhook_route disable trigger webhook_route_changed')
    await hub.query('delete from webhook_route where id = $1', [route.id])
    await hub.query('alter table webhook_route enable trigger webhook_route_changed')
    await expect(send(newEvent('acct_gone'), 'whsec_gone')).rejects.toMatchObject({
      code: 'signature_invalid',
    })
    expect(await hub.stored()).toEqual(before)
  })

  it('do not make two destinations of one account in a race', async () => {
    const b = await hub.workspace('race-dev')
    const claims = await Promise.allSettled(
      [a, b, a, b].map((tenantId, at) =>
        hub.route(tenantId, { secret: `whsec_race_${at}`, account: 'acct_race' }),
      ),
    )
    expect(claims.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    for (const claim of claims)
      if (claim.status === 'rejected')
        expect(claim.reason).toMatchObject({
          code: 'conflict',
          message: 'A webhook route claims this account already.',
        })
  })
})

it('never writes a secret, a signature or a payload to the log', async () => {
  await expect(send(newEvent(), 'whsec_wrong')).rejects.toMatchObject({ code: 'signature_invalid' })
  expect(captured.text()).toContain('a webhook was refused')
  expect(captured.text()).not.toMatch(/whsec_|v1=|amount_paid/)
})

it('forgets dedupe keys after their time, a limited number at once, and then takes the event anew', async () => {
  const events = [newEvent(), newEvent(), newEvent()]
  const first = []
  for (const event of events) first.push(await taken(event))
  await hub.query(
    `update webhook_dedupe set expires_at = now() - interval '1 second' where inbox_id = any($1)`,
    [first.slice(0, 2).map(({ inboxId }) => inboxId)],
  )
  expect(await forgetExpiredEvents(platform.db, 1)).toBe(1)
  expect(await forgetExpiredEvents(platform.db, 100)).toBe(1)
  expect(await forgetExpiredEvents(platform.db, 100)).toBe(0)
  const again = []
  for (const event of events) again.push((await taken(event)).duplicate)
  expect(again).toEqual([false, false, true])
})

it('keeps live and test apart: a prod hub takes live events only', async () => {
  const prod = webhookHub({ ...platform, metrics: testPlatform(wire.url).metrics }, 'prod')
  try {
    const tenantId = await prod.workspace('live-prod')
    await prod.route(tenantId, { secret: 'whsec_live', account: 'acct_live' })
    const live = stripe.body({ id: 'evt_live', account: 'acct_live', livemode: true })
    const test = stripe.body({ id: 'evt_test', account: 'acct_live', livemode: false })
    const through = (raw: Buffer) =>
      prod.accept({
        provider,
        routeId: undefined,
        url: undefined,
        raw,
        headers: { 'stripe-signature': [stripeSignature(raw, ['whsec_live'], Date.now())] },
        call,
      })
    // From Stripe beyond doubt: to refuse it would make Stripe give up the address of the live ones.
    await expect(through(test)).resolves.toEqual({ kind: 'quarantined' })
    await expect(through(live)).resolves.toMatchObject({ events: [{ duplicate: false }] })
    // The dev hub on the same database knows the route and still refuses the live event.
    await expect(send(live, 'whsec_live')).rejects.toMatchObject({ code: 'signature_invalid' })
  } finally {
    await prod.close()
  }
})
