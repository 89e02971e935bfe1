import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { manualClock } from '../../../testing/manual-clock.ts'
import { type QuarantineHub, quarantineHub } from '../../../testing/quarantine-hub.ts'
import { createMetrics } from '../../platform/metrics.ts'
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
    `insert into quarantine select (jsonb_populate_record(q, jsonb_build_object('id', gen_random_uuid(), 'sha256',
       '\\x' || encode(sha256(n::text::bytea), 'hex'), 'expires_at', now() - interval '1 second'))).*
     from quarantine q, generate_series(1, 450) as n where id = $1`,
    [kept?.id],
  )
  const [clock, metrics] = [manualClock(), createMetrics('test', false)]
  const care = createQuarantineCare({ ...database.platform, clock, metrics })
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
