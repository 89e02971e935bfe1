import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { asRequestOf } from '../../platform/db/request-db.ts'
import { newId } from '../../platform/ids.ts'
import { takenAccounts } from './webhook-routes.ts'

let database: TestDatabase
let access: TenantAccess
beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
})
afterAll(async () => {
  await access.close()
  await database.drop()
})

test('an account of a workspace that the request cannot see is taken; asking leaves nothing behind', async () => {
  const [mine, other] = [await access.workspace('mine-dev'), await access.workspace('other-dev')]
  await database.db.execute(
    {
      name: '',
      text: `insert into webhook_route (tenant_id, id, provider, account, livemode, connector, secret_refs, queue,
               event_types, created_by)
             values ($1, $2, 'stripe', 'acct_taken', false, 'product', '{stripe}', 'webhook', '{*}', 'a test')`,
    },
    [other.id, newId()],
  )
  const claim = (account: string) => ({ provider: 'stripe', account, livemode: false })
  const [taken, free] = [claim('acct_taken'), claim('acct_free')]
  const { requestDb } = database.platform
  const found = await asRequestOf(mine.id, () => takenAccounts(requestDb, mine.id, [taken, free]))
  expect([...found]).toEqual([taken])
  const { rows } = await database.db.execute(
    { name: '', text: 'select account from webhook_route order by account' },
    [],
  )
  expect(rows).toEqual([{ account: 'acct_taken' }])
})
