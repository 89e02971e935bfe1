import { Client } from 'pg'
import { inject } from 'vitest'

/** Every row of every table of a database as text, bytes in hex; also of those that nobody has thought of. */
export async function everyRow(databaseUrl: string): Promise<ReadonlyMap<string, string>> {
  const url = new URL(inject('postgres').adminUrl)
  url.pathname = new URL(databaseUrl).pathname
  const client = new Client({ connectionString: url.href })
  await client.connect()
  try {
    const tables = await client.query<{ name: string }>(
      `select format('%I.%I', n.nspname, c.relname) as name from pg_class c
       join pg_namespace n on n.oid = c.relnamespace
       where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') order by 1`,
    )
    const found = new Map<string, string>()
    for (const { name } of tables.rows) {
      const { rows } = await client.query<{ text: string | null }>(
        `select string_agg(t::text, E'\n') as text from ${name} t`,
      )
      found.set(name, rows[0]?.text ?? '')
    }
    return found
  } finally {
    await client.end()
  }
}
