import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { manualClock } from '../../../testing/manual-clock.ts'
import { type QuarantineHub, quarantineHub } from '../../../testing/quarantine-hub.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { verifyQuarantined } from './quarantine.ts'
import { createQuarantineCare } from './quarantine.worker.ts'

let database: TestDatabase
let hub: QuarantineHub

beforeAll(async () => {
  database = await testDatabase()
  hub = quarantineHub(database.platform, { perSecond: 1_000 })
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})

test('the worker removes what has expired, more than one batch of it, and tells how much is in', async () => {
  for (let count = 0; count < 3; count += 1) await hub.send({ id: `evt_${count}`, secret: 'whsec_of_nobody' })
  const [kept] = await hub.rows()
  await hub.query(
    `insert into quarantine (tenant_id, id, because_of, provider, reason, authentic, sealed, accounts, events, body, sha256,
       size, copies, room, expires_at, request_id, correlation_id, trace_id)
     select tenant_id, gen_random_uuid(), because_of, provider, reason, authentic, sealed, accounts, events, body,
       sha256(n::text::bytea), size, copies, room, now() - interval '1 second', 'r', 'c', 't'
     from quarantine q, generate_series(1, 450) as n where id = $1`,
    [kept?.id],
  )
  const [clock, metrics] = [manualClock(), createMetrics('test', false)]
  const care = createQuarantineCare({ ...database.platform, clock, metrics }, hub.deps)
  const read = async (name: string) => {
    const metric = await metrics.registry.getSingleMetric(`orchestrator_webhook_quarantine_${name}`)?.get()
    return metric?.values.map(({ value }) => value)
  }
  care.start()
  await clock.whenSleeping()
  expect(await hub.rows()).toHaveLength(3)
  expect(await read('expired_total')).toEqual([450])
  expect(await read('rows')).toEqual([3])
  const [used] = await hub.query<{ bytes: number }>('select sum(room)::bigint as bytes from quarantine')
  expect(await read('bytes')).toEqual([used?.bytes])

  await hub.query(`update quarantine set expires_at = now() where id = $1`, [kept?.id])
  await clock.advance(60_000)
  await clock.whenSleeping()
  expect(await hub.rows()).toHaveLength(2)
  await care.stop()
})

test('what a process has left on its way is brought by the worker after a minute, or is kept as before', async () => {
  await hub.query('delete from quarantine')
  const tenantId = await hub.workspace('left-dev')
  const [stays, goes] = [
    await hub.route(tenantId, { secret: 'x' }),
    await hub.route(tenantId, { secret: 'x' }),
  ]
  const setSecret = (value: string) => {
    for (const { secretRefs } of [stays, goes]) hub.secrets.set(`${tenantId}/${secretRefs[0]}`, value)
  }
  const acceptEvents = async () => {
    throw new Error('the process dies here')
  }
  setSecret('whsec_of_another')
  for (const route of [stays, goes])
    await hub.send({ id: `evt_of_${route.id}`, secret: 'whsec_right', routeId: route.id })
  setSecret('whsec_right')
  for (const { id } of await hub.rows())
    await expect(verifyQuarantined({ ...hub.deps, acceptEvents }, { tenantId, id }, CHANGE)).rejects.toThrow()
  await hub.query('delete from webhook_route where id = $1', [goes.id])

  const clock = manualClock()
  const metrics = createMetrics('test', false)
  const care = createQuarantineCare({ ...database.platform, clock, metrics }, hub.deps)
  care.start()
  await clock.whenSleeping()
  const states = async () => (await hub.rows()).map(({ state }) => state)
  // Somebody may be about to bring it.
  expect(await states()).toEqual(['releasing', 'releasing'])
  await hub.query(`update quarantine set ended_at = ended_at - interval '61 seconds'`)
  await clock.advance(60_000)
  await clock.whenSleeping()
  expect(await states()).toEqual(['released', 'kept'])
  expect(await hub.query('select event_id from webhook_inbox where tenant_id = $1', [tenantId])).toEqual([
    { event_id: `evt_of_${stays.id}` },
  ])
  await care.stop()
})
