import { Client } from 'pg'
import { inject } from 'vitest'

/**
 * What somebody with all rights on the database server does to a database of a test, in one transaction: no trigger and
 * no row-level security in the way.
 */
export async function asSuperuser(
  url: string,
  statements: readonly (readonly [string, unknown[]])[],
): Promise<void> {
  const target = new URL(inject('postgres').adminUrl)
  target.pathname = new URL(url).pathname
  const client = new Client({ connectionString: target.href })
  await client.connect()
  try {
    await client.query('begin; set local session_replication_role = replica')
    for (const [text, values] of statements) await client.query(text, values)
    await client.query('commit')
  } finally {
    await client.end()
  }
}
