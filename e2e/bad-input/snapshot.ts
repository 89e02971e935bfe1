import type { TestDatabase } from '../../server/testing/database.ts'

/** Every table of the hub: how many rows it has and a hash over all of them. */
export type Snapshot = Readonly<Record<string, string>>

/** A column that may change: whoever checks a wrong signature has used the secret to do it. */
const UNCOUNTED: ReadonlyMap<string, string> = new Map([['secret_ref', 'last_used_at']])

/** When a session was last used is written by whoever uses it, whatever for. */
/** What is in quarantine, counted: see below. */
const LEFT_OUT = ['operator_session', 'quarantine_room']

/** Rows that may come: the lists that are read on the way tell who has exported them, and the quarantine of what it got. */
const UNTOLD: ReadonlyMap<string, string> = new Map([
  ['event', "t.type not in ('audit.exported', 'webhook.quarantined')"],
  // What is refused at the ingress is kept there, and nothing is done with it.
  ['quarantine', "t.state <> 'kept'"],
])

/** Partitions are read through their parents. */
export async function snapshotOf({ db }: Pick<TestDatabase, 'db'>): Promise<Snapshot> {
  const tables = await db.execute<{ name: string }>(
    {
      name: '',
      text: `select c.relname as name from pg_class c
             where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
             order by 1`,
    },
    [],
  )
  const found: [string, string][] = []
  for (const { name } of tables.rows.filter((table) => !LEFT_OUT.includes(table.name))) {
    const row = UNCOUNTED.has(name) ? `(to_jsonb(t) - '${UNCOUNTED.get(name)}')` : 't'
    const text = `select count(*) || ' rows, ' || coalesce(md5(string_agg(${row}::text, '|' order by ${row}::text)), 'empty') as state from "${name}" t where ${UNTOLD.get(name) ?? 'true'}`
    const { rows } = await db.execute<{ state: string }>({ name: '', text }, [])
    found.push([name, rows[0]?.state ?? ''])
  }
  return Object.fromEntries(found)
}
