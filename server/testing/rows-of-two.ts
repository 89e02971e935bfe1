import { Client } from 'pg'
import { inject } from 'vitest'
import { newId } from '../src/platform/ids.ts'

export interface ProtectedTable {
  readonly name: string
  /** The column with the tenant's id. */
  readonly tenant: string
}

/** Every table of the schema that has tenants' rows, by the catalogue; partitions are reached through their parents. */
export const PROTECTED_TABLES = `
  select c.relname as name, a.attname as tenant
  from pg_class c join pg_attribute a on a.attrelid = c.oid and not a.attisdropped
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and (a.attname = 'tenant_id' or (c.relname = 'workspace' and a.attname = 'id'))
  order by 1`

interface Column {
  readonly name: string
  readonly type: string
}

/** A value of a type that says nothing; unique per call where a type has enough of them. */
function anyValue({ type }: Column, number: number): unknown {
  if (type.endsWith('[]')) return '{}'
  if (type === 'uuid') return newId()
  if (type === 'text' || type === 'character varying') return `x${number}`
  if (/^(bigint|integer|smallint)$/.test(type)) return number
  if (type === 'boolean') return false
  if (type === 'bytea') return Buffer.from([number])
  if (/^jsonb?$/.test(type)) return '{}'
  if (type.startsWith('timestamp') || type === 'date') return new Date()
  throw new Error(`a value of ${type} is not known here: add one`)
}

/**
 * Puts one row of each tenant into each table of a throw-away database, whatever the tables want: their checks, foreign
 * keys and triggers are taken off for good. Made from the catalogue, so that a new table needs nothing here.
 */
export async function fillProtectedTables(
  databaseUrl: string,
  tables: readonly ProtectedTable[],
  tenants: readonly string[],
): Promise<void> {
  const url = new URL(inject('postgres').adminUrl)
  url.pathname = new URL(databaseUrl).pathname
  const client = new Client({ connectionString: url.href })
  await client.connect()
  try {
    const { rows: constraints } = await client.query<{ text: string }>(
      `select format('alter table %s drop constraint %I', conrelid::regclass, conname) as text from pg_constraint
       where contype in ('c', 'f') and connamespace = 'public'::regnamespace and conparentid = 0 and conislocal`,
    )
    for (const { text } of constraints) await client.query(text)
    for (const { name, tenant } of tables) {
      await client.query(`alter table ${name} disable trigger user`)
      const { rows: columns } = await client.query<Column>(
        `select attname as name, format_type(atttypid, null) as type from pg_attribute
         where attrelid = $1::regclass and attnum > 0 and not attisdropped and attnotnull and attgenerated = ''
           and attidentity = '' and (not atthasdef or attname = 'at') and attname <> $2`,
        [name, tenant],
      )
      for (const [at, tenantId] of tenants.entries()) {
        const values = [tenantId, ...columns.map((column) => anyValue(column, at + 1))]
        await client.query(
          `insert into ${name} (${[tenant, ...columns.map((column) => column.name)].join(', ')})
           values (${values.map((_, index) => `$${index + 1}`).join(', ')})`,
          values,
        )
      }
    }
  } finally {
    await client.end()
  }
}
