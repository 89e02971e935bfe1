import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type QuarantineHub, quarantineHub } from '../../../testing/quarantine-hub.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import {
  assign,
  discardMany,
  discardQuarantined,
  getQuarantined,
  verifyMany,
  verifyQuarantined,
} from './quarantine.ts'

const RIGHT = 'whsec_right'
const WRONG = 'whsec_wrong'

let database: TestDatabase
let hub: QuarantineHub
let a: string
let b: string
let ofA: WebhookRoute

beforeAll(async () => {
  database = await testDatabase()
  hub = quarantineHub(database.platform, { perSecond: 1_000 })
  a = await hub.workspace('a-dev')
  b = await hub.workspace('b-dev')
  ofA = await hub.route(a, { secret: WRONG })
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})
beforeEach(async () => {
  await hub.query('delete from quarantine')
  setSecret(ofA, WRONG)
})

const setSecret = (route: WebhookRoute, value: string) =>
  hub.secrets.set(`${route.tenantId}/${route.secretRefs[0]}`, value)
const newEvent = () => ({ id: `evt_${newId()}` })

/** Refused because the route has the wrong secret; gives its id. */
async function refused(sent: Partial<Parameters<QuarantineHub['send']>[0]> = {}): Promise<string> {
  expect(await hub.send({ ...newEvent(), secret: RIGHT, routeId: ofA.id, ...sent })).not.toBe('taken')
  return (await hub.rows()).at(-1)?.id ?? expect.unreachable('nothing was kept')
}
const verify = (id: string, tenantId = a) => verifyQuarantined(hub.deps, { tenantId, id }, CHANGE)
const stateOf = async (id: string) => (await hub.rows()).find((row) => row.id === id)?.state
const inbox = (eventId: string) =>
  hub.query<{
    id: string
    tenant_id: string
    source: string
    secret_fingerprint: string | null
    trace_id: string
  }>('select * from webhook_inbox where event_id = $1', [eventId])
const entries = (tenantId: string, id: string) =>
  hub.query<{ action: string; reason: string; diff: unknown }>(
    'select action, reason, diff from audit_entry where tenant_id = $1 and object = $2 order by seq',
    [tenantId, `quarantine:${id}`],
  )
const conflict = (members: object) => ({
  code: 'conflict',
  extra: { members: expect.objectContaining(members) },
})

describe('verifying it again', () => {
  test('releases it once the secret is right: into the inbox, with its evidence and trace, and its job', async () => {
    const event = newEvent()
    const id = await refused(event)
    setSecret(ofA, RIGHT)
    const outcome = await verify(id)
    const [row, ...more] = await inbox(event.id)
    expect(more).toEqual([])
    expect(row).toMatchObject({
      tenant_id: a,
      source: 'released',
      trace_id: 'a'.repeat(32),
      state: 'accepted',
    })
    expect(row?.secret_fingerprint).not.toBeNull()
    expect(outcome).toMatchObject({
      released: true,
      targets: [{ tenant_id: a, route_id: ofA.id, inbox_id: row?.id, duplicate: false }],
    })
    expect(await hub.rows()).toMatchObject([{ state: 'released', bytes: null, copies: null, room: 0 }])
    expect(await entries(a, id)).toMatchObject([
      {
        action: 'quarantine.released',
        reason: CHANGE.reason,
        diff: [
          { path: '/state', before: 'kept', after: 'released' },
          { path: '/targets', after: [{ route_id: ofA.id, event_id: event.id }] },
        ],
      },
    ])
  })

  test('judges times by when it came: days later a signature is as good as it was then, and no better', async () => {
    const then = Date.now() - 6 * 86_400_000
    const cameThen = (id: string) =>
      hub.query(
        `update quarantine set copies = jsonb_set(copies, '{0,at}', to_jsonb($1::bigint)) where id = $2`,
        [then, id],
      )
    const signedThen = await refused({ atMs: then })
    const signedNow = await refused()
    for (const id of [signedThen, signedNow]) await cameThen(id)
    setSecret(ofA, RIGHT)
    expect(await verify(signedThen)).toMatchObject({ released: true })
    expect(await verify(signedNow)).toEqual({ released: false, cause: 'timestamp_outside_tolerance' })
  })

  test('says why it stays, and changes nothing', async () => {
    const id = await refused()
    expect(await verify(id)).toEqual({ released: false, cause: 'signature_mismatch' })
    expect(await stateOf(id)).toBe('kept')
    expect(await entries(a, id)).toEqual([])
  })

  test('a second time says where it went', async () => {
    const id = await refused()
    setSecret(ofA, RIGHT)
    const outcome = await verify(id)
    if (!outcome.released) return expect.unreachable('it was not released')
    await expect(verify(id)).rejects.toMatchObject(
      conflict({
        state: 'released',
        released_to: [expect.objectContaining({ inbox_id: outcome.targets[0]?.inbox_id })],
      }),
    )
  })

  test('many at once: one inbox row, one audit entry, and everybody hears of the same row', async () => {
    const event = newEvent()
    const id = await refused(event)
    setSecret(ofA, RIGHT)
    const outcomes = await Promise.allSettled([verify(id), verify(id), verify(id), verify(id)])
    const [row, ...more] = await inbox(event.id)
    expect(more).toEqual([])
    for (const outcome of outcomes)
      if (outcome.status === 'fulfilled')
        expect(outcome.value).toMatchObject({ released: true, targets: [{ inbox_id: row?.id }] })
      else expect(outcome.reason).toMatchObject(conflict({ state: 'released' }))
    expect(outcomes.some(({ status }) => status === 'fulfilled')).toBe(true)
    expect(await entries(a, id)).toHaveLength(1)
    expect(await stateOf(id)).toBe('released')
  })

  test('an event that the provider has sent again meanwhile is a duplicate, not a second delivery', async () => {
    const event = newEvent()
    const id = await refused(event)
    setSecret(ofA, RIGHT)
    expect(await hub.send({ ...event, secret: RIGHT, routeId: ofA.id })).toBe('taken')
    const [first] = await inbox(event.id)
    expect(await verify(id)).toMatchObject({
      released: true,
      targets: [{ inbox_id: first?.id, duplicate: true }],
    })
    expect(await inbox(event.id)).toHaveLength(1)
    const jobs = await hub.query('select from job where inbox_id = $1', [first?.id])
    expect(jobs).toHaveLength(1)
  })

  test('tries every copy: bytes that came without a signature first, and signed later', async () => {
    const event = newEvent()
    await refused({ ...event, secret: 'whsec_of_somebody' })
    const id = await refused(event)
    expect(await hub.rows()).toHaveLength(1)
    await refused({ ...event, secret: 'whsec_of_another' })
    setSecret(ofA, RIGHT)
    expect(await verify(id)).toMatchObject({ released: true })
  })

  test('is for the workspace that has it: to others it does not exist, as to nobody', async () => {
    const id = await refused()
    const absent = { code: 'not_found', message: 'There is no such webhook in the quarantine.' }
    for (const [tenantId, which] of [
      [b, id],
      [NO_WORKSPACE, id],
      [a, newId()],
    ] as const) {
      const key = { tenantId, id: which }
      await expect(verifyQuarantined(hub.deps, key, CHANGE)).rejects.toMatchObject(absent)
      await expect(getQuarantined(hub.deps.db, key)).rejects.toMatchObject(absent)
      await expect(discardQuarantined(hub.deps, key, CHANGE)).rejects.toMatchObject(absent)
    }
  })

  test("never takes it into another workspace: what another one's route takes now stays as unknown", async () => {
    const claimed = await hub.route(a, { secret: WRONG, account: 'acct_moved' })
    const id = await refused({ account: 'acct_moved', routeId: undefined })
    expect(await hub.rows()).toMatchObject([{ tenant_id: a, sealed: true }])
    await hub.query('delete from webhook_route where id = $1', [claimed.id])
    await hub.route(b, { secret: RIGHT, account: 'acct_moved' })
    expect(await verify(id)).toMatchObject({ released: false })
    expect(await stateOf(id)).toBe('kept')
    await hub.query(`delete from webhook_route where account = 'acct_moved'`)
  })

  test('an account that is claimed later: the platform releases it there, told in both logs', async () => {
    const event = newEvent()
    setSecret(ofA, RIGHT)
    const id = await refused({ ...event, account: 'acct_later', routeId: undefined })
    expect(await hub.rows()).toMatchObject([
      { tenant_id: NO_WORKSPACE, authentic: true, reason: 'unknown_account' },
    ])
    const route = await hub.route(b, { secret: RIGHT, account: 'acct_later' })
    expect(await verify(id, NO_WORKSPACE)).toMatchObject({ released: true, targets: [{ tenant_id: b }] })
    expect(await inbox(event.id)).toMatchObject([{ tenant_id: b }])
    expect(await entries(NO_WORKSPACE, id)).toMatchObject([{ action: 'quarantine.released' }])
    expect(await entries(b, id)).toMatchObject([{ action: 'quarantine.released' }])
    expect(await entries(a, id)).toEqual([])
    await hub.query('delete from webhook_route where id = $1', [route.id])
  })

  test('two routes that verify it: it stays ambiguous', async () => {
    const [one, two] = [await hub.route(a, { secret: RIGHT }), await hub.route(b, { secret: RIGHT })]
    // What memory knows and verifies is taken; of the other one a hint tells in a moment.
    await hub.routes.refresh()
    expect(await hub.send({ ...newEvent(), secret: RIGHT })).toBe('quarantined')
    const [row] = await hub.rows()
    expect(row).toMatchObject({ tenant_id: NO_WORKSPACE, reason: 'ambiguous', authentic: true })
    expect(await verify(row?.id ?? '', NO_WORKSPACE)).toEqual({ released: false, cause: 'ambiguous' })
    await hub.query('delete from webhook_route where id = $1', [two.id])
    expect(await verify(row?.id ?? '', NO_WORKSPACE)).toMatchObject({
      released: true,
      targets: [{ route_id: one.id }],
    })
    await hub.query('delete from webhook_route where id = $1', [one.id])
  })
})

describe('a route that was made again', () => {
  /** Refused at the path of a route that is gone now. */
  async function orphan(sent: object = {}) {
    const gone = await hub.route(a, { secret: WRONG })
    const id = await refused({ routeId: gone.id, ...sent })
    await hub.query('delete from webhook_route where id = $1', [gone.id])
    return id
  }

  test('gets what came to the path of the one before', async () => {
    const event = newEvent()
    const id = await orphan({ ...event, account: 'acct_again' })
    expect(await verify(id)).toMatchObject({ released: false })
    const again = await hub.route(a, { secret: RIGHT, account: 'acct_again' })
    expect(await verify(id)).toMatchObject({ released: true, targets: [{ route_id: again.id }] })
    expect(await inbox(event.id)).toMatchObject([{ tenant_id: a }])
    await hub.query('delete from webhook_route where id = $1', [again.id])
  })

  test('only when one alone of the workspace takes it, whatever others have', async () => {
    const id = await orphan()
    const others = await hub.route(b, { secret: RIGHT })
    // It is what another workspace's secret verifies, and says no more than that nothing of this one does.
    expect(await verify(id)).toMatchObject({ released: false })
    const [one, two] = [await hub.route(a, { secret: RIGHT }), await hub.route(a, { secret: RIGHT })]
    expect(await verify(id)).toEqual({ released: false, cause: 'ambiguous' })
    await hub.query('delete from webhook_route where id = any($1)', [[two.id, others.id]])
    expect(await verify(id)).toMatchObject({ released: true, targets: [{ route_id: one.id }] })
    await hub.query('delete from webhook_route where id = $1', [one.id])
  })

  test('is not asked while the route of the path is there', async () => {
    const id = await refused()
    const other = await hub.route(a, { secret: RIGHT })
    expect(await verify(id)).toMatchObject({ released: false })
    await hub.query('delete from webhook_route where id = $1', [other.id])
  })
})

describe('what breaks in the middle', () => {
  const broken = { ...CHANGE, reason: 'before it broke' }

  test('leaves it on its way, and the next call brings it there: the same place, one entry', async () => {
    const event = newEvent()
    const id = await refused(event)
    setSecret(ofA, RIGHT)
    const acceptEvents = async () => {
      throw new Error('the line is dead')
    }
    const key = { tenantId: a, id }
    await expect(verifyQuarantined({ ...hub.deps, acceptEvents }, key, broken)).rejects.toThrow(
      'the line is dead',
    )
    expect(await stateOf(id)).toBe('releasing')
    // Nothing else can happen to it now.
    await expect(discardQuarantined(hub.deps, key, CHANGE)).rejects.toMatchObject(
      conflict({ state: 'releasing' }),
    )
    // Not even a secret that is wrong again changes where it goes.
    setSecret(ofA, WRONG)
    expect(await verify(id)).toMatchObject({ released: true, targets: [{ route_id: ofA.id }] })
    expect(await inbox(event.id)).toHaveLength(1)
    expect(await entries(a, id)).toMatchObject([{ action: 'quarantine.released', reason: 'before it broke' }])
  })

  test('also when it had arrived: then it is not taken twice', async () => {
    const event = newEvent()
    const id = await refused(event)
    setSecret(ofA, RIGHT)
    const acceptEvents: typeof hub.acceptEvents = async (events) => {
      await hub.acceptEvents(events)
      throw new Error('the answer is lost')
    }
    const key = { tenantId: a, id }
    await expect(verifyQuarantined({ ...hub.deps, acceptEvents }, key, CHANGE)).rejects.toThrow(
      'the answer is lost',
    )
    // It was new: that the release came to its end in a second try makes no duplicate of it.
    expect(await verify(id)).toMatchObject({ released: true, targets: [{ duplicate: false }] })
    expect(await inbox(event.id)).toHaveLength(1)
    expect((await hub.rows())[0]?.targets).toMatchObject([{ duplicate: false }])
  })

  test('a route that has gone meanwhile: it is kept as before, and that is told', async () => {
    const route = await hub.route(a, { secret: RIGHT })
    setSecret(route, WRONG)
    const id = await refused({ routeId: route.id })
    setSecret(route, RIGHT)
    const acceptEvents: typeof hub.acceptEvents = async (events) => {
      await hub.query('delete from webhook_route where id = $1', [route.id])
      return hub.acceptEvents(events)
    }
    const key = { tenantId: a, id }
    await expect(verifyQuarantined({ ...hub.deps, acceptEvents }, key, CHANGE)).rejects.toMatchObject({
      code: 'conflict',
    })
    expect(await stateOf(id)).toBe('kept')
    expect((await entries(a, id)).map(({ action }) => action)).toEqual([
      'quarantine.released',
      'quarantine.release_undone',
    ])
  })
})

describe('verifying many', () => {
  const filter = { limit: 100, state: 'kept' as const }

  test('releases what a route takes now and counts why the rest stays', async () => {
    const events = [newEvent(), newEvent(), newEvent()]
    for (const event of events) await refused(event)
    await refused({ secret: 'whsec_of_somebody' })
    setSecret(ofA, RIGHT)
    const tenantId = a
    expect(await verifyMany(hub.deps, { ...filter, tenantId }, CHANGE)).toEqual({
      ...{ examined: 4, released: 3, next: null },
      refused: { signature_mismatch: 1 },
    })
    for (const { id } of events) expect(await inbox(id)).toHaveLength(1)
    expect(await verifyMany(hub.deps, { ...filter, tenantId }, CHANGE)).toMatchObject({
      examined: 1,
      released: 0,
    })
  })

  test('goes on where it ended, and looks only at what the filter names', async () => {
    for (let count = 0; count < 3; count += 1) await refused()
    const tenantId = a
    const first = await verifyMany(hub.deps, { ...filter, tenantId, limit: 2 }, CHANGE)
    expect(first).toMatchObject({ examined: 2, next: expect.any(String) })
    const beforeId = first.next ?? undefined
    expect(await verifyMany(hub.deps, { ...filter, tenantId, beforeId, limit: 2 }, CHANGE)).toMatchObject({
      examined: 1,
      next: null,
    })
    const none = [
      { reason: 'unknown_account' },
      { provider: 'github' },
      { routeId: newId() },
      { to: new Date(0) },
    ]
    for (const other of none)
      expect(await verifyMany(hub.deps, { ...filter, tenantId, ...other }, CHANGE)).toMatchObject({
        examined: 0,
      })
  })
})

describe('assigning', () => {
  const nobodys = (sent: object = {}) => refused({ routeId: undefined, secret: 'whsec_of_somebody', ...sent })
  const to = (id: string, route: WebhookRoute) => ({ id, workspaceId: route.tenantId, routeId: route.id })

  test('a person says whose it is: released without evidence, told in both logs', async () => {
    const event = newEvent()
    const id = await nobodys(event)
    expect(await assign(hub.deps, to(id, ofA), CHANGE)).toMatchObject([{ tenant_id: a, duplicate: false }])
    expect(await inbox(event.id)).toMatchObject([
      { tenant_id: a, source: 'released', secret_ref: null, secret_fingerprint: null },
    ])
    for (const tenantId of [a, NO_WORKSPACE])
      expect(await entries(tenantId, id)).toMatchObject([
        { action: 'quarantine.assigned', reason: CHANGE.reason },
      ])
    await expect(assign(hub.deps, to(id, ofA), CHANGE)).rejects.toMatchObject(conflict({ state: 'released' }))
  })

  test('not into another mode', async () => {
    const id = await nobodys({ livemode: true })
    await expect(assign(hub.deps, to(id, ofA), CHANGE)).rejects.toMatchObject({ code: 'conflict' })
    expect(await stateOf(id)).toBe('kept')
  })

  test('not while a route of another workspace claims its account', async () => {
    const route = await hub.route(b, { secret: WRONG, account: 'acct_of_b' })
    await hub.query('update webhook_route set account = $1 where id = $2', ['acct_for_now', route.id])
    const id = await nobodys({ account: 'acct_of_b' })
    await hub.query('update webhook_route set account = $1 where id = $2', ['acct_of_b', route.id])
    await expect(assign(hub.deps, to(id, ofA), CHANGE)).rejects.toMatchObject({
      message: expect.stringContaining('another workspace has the account'),
    })
    await hub.query('delete from webhook_route where id = $1', [route.id])
  })

  test('against a claim that nothing proves, when a person says so: told to all three', async () => {
    const route = await hub.route(b, { secret: WRONG, account: 'acct_hoarded' })
    await hub.query('update webhook_route set account = $1 where id = $2', ['acct_for_now', route.id])
    const event = newEvent()
    const id = await nobodys({ ...event, account: 'acct_hoarded', secret: RIGHT })
    await hub.query('update webhook_route set account = $1 where id = $2', ['acct_hoarded', route.id])
    const despite = { ...to(id, ofA), despiteClaim: true }
    setSecret(route, RIGHT)
    await expect(assign(hub.deps, despite, CHANGE)).rejects.toMatchObject({
      message: expect.stringContaining('the secret of the workspace that has the account verifies it'),
    })
    setSecret(route, WRONG)
    expect(await assign(hub.deps, despite, CHANGE)).toMatchObject([{ tenant_id: a, duplicate: false }])
    expect(await inbox(event.id)).toMatchObject([{ tenant_id: a }])
    const claim = { tenantId: b, routeId: route.id, account: 'acct_hoarded' }
    const despiteOf = (after: unknown) => ({
      diff: expect.arrayContaining([{ path: '/despite_claim', after }]),
    })
    expect(await entries(NO_WORKSPACE, id)).toMatchObject([despiteOf([claim])])
    expect(await entries(a, id)).toMatchObject([despiteOf(true)])
    expect(await entries(b, id)).toMatchObject([
      {
        action: 'quarantine.claim_overruled',
        diff: [{ path: '/claim', before: { route_id: route.id, account: 'acct_hoarded' } }],
      },
    ])
    expect(JSON.stringify(await entries(b, id))).not.toContain(a)
    await hub.query('delete from webhook_route where id = $1', [route.id])
  })

  test('at once by several: the event was new, and everybody hears so', async () => {
    for (let round = 0; round < 5; round += 1) {
      const id = await nobodys()
      const three = Array.from({ length: 3 }, () => assign(hub.deps, to(id, ofA), CHANGE))
      for (const outcome of await Promise.allSettled(three))
        if (outcome.status === 'fulfilled') expect(outcome.value).toMatchObject([{ duplicate: false }])
        else expect(outcome.reason).toMatchObject(conflict({ state: 'released' }))
      const row = (await hub.rows()).find((one) => one.id === id)
      expect(row?.targets).toMatchObject([{ duplicate: false }])
    }
  })

  test('only to a route of that workspace and provider, and only what is nobody’s', async () => {
    const id = await nobodys()
    const github = await hub.route(a, { provider: 'github', secret: RIGHT })
    for (const where of [
      { ...to(id, ofA), workspaceId: b },
      { ...to(id, ofA), workspaceId: newId() },
      { ...to(id, ofA), routeId: newId() },
      to(id, github),
      to(await refused(), ofA),
    ])
      await expect(assign(hub.deps, where, CHANGE)).rejects.toMatchObject({ code: 'not_found' })
    expect(await stateOf(id)).toBe('kept')
  })

  test('to two workspaces at once: one of them gets it', async () => {
    const event = newEvent()
    const id = await nobodys(event)
    const ofB = await hub.route(b, { secret: RIGHT })
    const outcomes = await Promise.allSettled([
      assign(hub.deps, to(id, ofA), CHANGE),
      assign(hub.deps, to(id, ofB), CHANGE),
    ])
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(await inbox(event.id)).toHaveLength(1)
    await hub.query('delete from webhook_route where id = $1', [ofB.id])
  })
})

test('discarding removes the bytes; once more changes nothing', async () => {
  const id = await refused()
  const key = { tenantId: a, id }
  await discardQuarantined(hub.deps, key, CHANGE)
  await discardQuarantined(hub.deps, key, CHANGE)
  expect(await hub.rows()).toMatchObject([{ state: 'discarded', bytes: null, copies: null }])
  expect(await entries(a, id)).toMatchObject([{ action: 'quarantine.discarded' }])
  await expect(verify(id)).rejects.toMatchObject(conflict({ state: 'discarded' }))
})

test('discarding many takes what fits the filter, the oldest first, with one entry that counts them', async () => {
  const ids = [await refused(), await refused(), await refused()]
  const other = await hub.route(a, { secret: WRONG })
  const kept = await refused({ routeId: other.id })
  const filter = { tenantId: a, routeId: ofA.id, limit: 2 }
  expect(await discardMany(hub.deps, filter, CHANGE)).toBe(2)
  expect(await Promise.all(ids.map(stateOf))).toEqual(['discarded', 'discarded', 'kept'])
  expect(await discardMany(hub.deps, filter, CHANGE)).toBe(1)
  expect(await discardMany(hub.deps, filter, CHANGE)).toBe(0)
  for (const beyond of [
    { tenantId: b },
    { tenantId: NO_WORKSPACE },
    { reason: 'ambiguous' },
    { to: new Date(0) },
  ])
    expect(await discardMany(hub.deps, { tenantId: a, limit: 9, ...beyond }, CHANGE)).toBe(0)
  expect(await stateOf(kept)).toBe('kept')
  expect(
    await hub.query(
      `select reason, diff from audit_entry where tenant_id = $1 and action = 'quarantine.many_discarded' order by seq`,
      [a],
    ),
  ).toMatchObject(
    [2, 1].map((after) => ({
      reason: CHANGE.reason,
      diff: [
        { path: '/filter', after: { route_id: ofA.id } },
        { path: '/discarded', after },
      ],
    })),
  )
})

test('when its time is over nothing can be done with it, also before a worker has come by', async () => {
  const id = await refused()
  setSecret(ofA, RIGHT)
  await hub.query(`update quarantine set expires_at = now() - interval '1 second'`)
  await expect(verify(id)).rejects.toMatchObject(conflict({ state: 'expired' }))
  await expect(discardQuarantined(hub.deps, { tenantId: a, id }, CHANGE)).rejects.toMatchObject(
    conflict({ state: 'expired' }),
  )
  expect(await stateOf(id)).toBe('kept')
})
