import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../testing/database.ts'
import { manualClock } from '../../testing/manual-clock.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../testing/tenant-access.ts'
import { putSecretRef, type ReadRef } from '../features/secrets/secrets.ts'
import { Secret } from '../platform/secret.ts'
import { createSecretChecks } from './secret-checks.ts'

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

test('what resolves is left out, what does not says why, and a store that does not answer is not waited for', async () => {
  const { id: tenantId, slug } = await access.workspace('checked-dev')
  for (const [name, ref] of [
    ['good', 'env://GOOD'],
    ['bad', 'env://BAD'],
    ['slow', 'file://slow'],
  ] as const)
    await putSecretRef(database.db, { tenantId, name, ref }, CHANGE)
  const clock = manualClock()
  const asked: string[] = []
  const readRef: ReadRef = (owner, ref) => {
    asked.push(`${owner.slug} ${ref}`)
    if (ref === 'env://GOOD') return Promise.resolve([new Secret('a value')])
    if (ref === 'env://BAD') return Promise.resolve({ why: 'it is not set' })
    return new Promise(() => undefined)
  }
  const checks = createSecretChecks({ db: database.db, directory: access.directory, readRef, clock })
  const found = checks.ofNames(tenantId, ['good', 'bad', 'slow'])
  await expect.poll(() => asked.length).toBe(3)
  clock.advance(3_000)
  expect(await found).toEqual(
    new Map([
      ['bad', 'it is not set'],
      ['slow', 'its store did not answer within 3 s'],
    ]),
  )
  expect(asked).toContain(`${slug} file://slow`)
})

test('a ref that is deleted between two looks is left to the check under the lock', async () => {
  const { id: tenantId } = await access.workspace('vanished-dev')
  await putSecretRef(database.db, { tenantId, name: 'bad', ref: 'env://BAD' }, CHANGE)
  const readRef: ReadRef = () => Promise.resolve({ why: 'it is not set' })
  const checks = createSecretChecks({
    ...{ db: database.db, directory: access.directory, readRef },
    clock: manualClock(),
  })
  expect(await checks.ofNames(tenantId, ['gone', 'bad'])).toEqual(new Map([['bad', 'it is not set']]))
})
