import { expect, test } from 'vitest'
import { one } from '../src/platform/db/statement.ts'
import { testDatabase } from './database.ts'

const whoAmI = one<undefined, { superuser: boolean; fsync: string; migrations: number }>(
  'testing.who_am_i',
  `select current_setting('is_superuser')::boolean as superuser, current_setting('fsync') as fsync,
          (select count(*)::int from schema_migration) as migrations`,
  () => [],
)

test('many clones can be made at once, are migrated, and belong to a role without superuser rights', async () => {
  const databases = await Promise.all(Array.from({ length: 6 }, () => testDatabase({ poolSize: 1 })))
  try {
    for (const { db } of databases) {
      const { superuser, fsync, migrations } = await whoAmI(db, undefined)
      expect({ superuser, fsync }).toEqual({ superuser: false, fsync: 'on' })
      expect(migrations).toBeGreaterThan(0)
    }
    expect(new Set(databases.map(({ url }) => url)).size).toBe(6)
  } finally {
    await Promise.all(databases.map((database) => database.drop()))
  }
})
