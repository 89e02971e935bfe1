import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../../testing/database.ts'
import { type WatchedPlans, watchPlans } from '../../../../testing/watched-plans.ts'
import { newId } from '../../../platform/ids.ts'
import { deliveredBytes } from './delivery.sql.ts'

let database: TestDatabase
let watched: WatchedPlans
beforeAll(async () => {
  database = await testDatabase()
  watched = await watchPlans(database.url, {})
})
afterAll(async () => {
  await watched.close()
  await database.drop()
})

test('what deliveries read opens the partitions of the days that they name, not those of all days', async () => {
  const refs = Array.from({ length: 20 }, () => ({ tenantId: newId(), id: newId() }))
  for (const { tenantId, id } of refs)
    await database.owner.execute(
      {
        name: '',
        text: `insert into webhook_payload (tenant_id, id, body, sha256, headers) values ($1, $2, 'x', sha256('x'), '{}')`,
      },
      [tenantId, id],
    )
  for (const mode of ['force_custom_plan', 'force_generic_plan']) {
    await watched.db.execute({ name: '', text: `set plan_cache_mode = ${mode}` }, [])
    expect(await deliveredBytes(watched.db, { refs })).toHaveLength(20)
    const opened = watched.plans().matchAll(/"Relation Name": "(webhook_payload\w*)"/g)
    expect(new Set([...opened].map(([, name]) => name)).size).toBe(1)
  }
})
