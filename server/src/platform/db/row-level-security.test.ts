import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { fillProtectedTables, PROTECTED_TABLES, type ProtectedTable } from '../../../testing/rows-of-two.ts'
import { newId } from '../ids.ts'
import { createDb, type Db } from './db.ts'
import { asRequestOf } from './request-db.ts'
import type { Queryable } from './statement.ts'

/** The wall itself, for every table that the migrations make: what statements without their filters see and change. */
const database: TestDatabase = await testDatabase()
const query = async <Row extends object>(on: Queryable, text: string, values: readonly unknown[] = []) =>
  (await on.execute<Row & Record<string, unknown>>({ name: '', text }, values)).rows

const tables = await query<ProtectedTable>(database.owner, PROTECTED_TABLES)
const [ours, theirs] = [newId(), newId()]
/** The request role outside of any request. */
let nobody: Db

beforeAll(async () => {
  await fillProtectedTables(database.url, tables, [ours, theirs])
  const { log, metrics } = database.platform
  const on = { url: database.url, applicationName: 'test nobody', poolSize: 1, slowQueryMs: 60_000 }
  nobody = createDb({ ...on, log, metrics, role: 'request' })
})
afterAll(async () => {
  await nobody.close()
  await database.drop()
})

const DENIED = /permission denied for/
const WALL = /violates row-level security policy/
const failureOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'it was done',
    (error: Error) => error.message,
  )

/** As a request of our tenant, and nothing of it stays. */
const asUs = async <T>(work: (on: Queryable) => Promise<T>): Promise<T> => {
  let result: { readonly value: T } | undefined
  const undone = asRequestOf(ours, () =>
    database.platform.requestDb.transaction(async (tx) => {
      result = { value: await work(tx) }
      throw new Error('undo')
    }),
  )
  await undone.catch((error: Error) => {
    if (!result || error.message !== 'undo') throw error
  })
  if (!result) throw new Error('it was not run')
  return result.value
}

/** Of which tenants the owner sees rows. */
const tenantsIn = async (on: Queryable, { name, tenant }: ProtectedTable) =>
  (await query<{ id: string }>(on, `select ${tenant} as id from ${name} order by 1`)).map(({ id }) => id)

const mayRequest = async (table: string, right: string): Promise<boolean> =>
  (
    await query<{ may: boolean }>(
      database.owner,
      `select has_table_privilege('orchestrator_request', $1, $2) as may`,
      [table, right],
    )
  )[0]?.may === true

test('there are tables to look at', () => {
  expect(tables.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['job', 'event', 'audit_entry', 'config_version', 'secret_ref', 'workspace']),
  )
})

describe.each(tables)('$name', (table) => {
  const { name, tenant } = table

  test('has the wall around it, forced, with a door for each of the three roles', async () => {
    const [state] = await query(
      database.owner,
      'select relrowsecurity as on, relforcerowsecurity as forced from pg_class where oid = $1::regclass',
      [name],
    )
    expect(state).toEqual({ on: true, forced: true })
    const own = `(${tenant} = request_tenant())`
    const policies = await query(
      database.owner,
      `select policyname as name, permissive, array_to_string(roles, ',') as roles, cmd, qual, with_check as checked
       from pg_policies where tablename = $1 order by policyname`,
      [name],
    )
    const policy = { permissive: 'PERMISSIVE', cmd: 'ALL' }
    expect(policies).toEqual([
      { ...policy, name: 'owner', roles: 'orchestrator', qual: 'true', checked: 'true' },
      { ...policy, name: 'request', roles: 'orchestrator_request', qual: own, checked: own },
      { ...policy, name: 'service', roles: 'orchestrator_service', qual: 'true', checked: 'true' },
    ])
  })

  test('shows a request its own rows when a statement has no filter, and nothing outside of a request', async () => {
    const both = [ours, theirs].toSorted()
    expect(await tenantsIn(database.owner, table)).toEqual(both)
    expect(await tenantsIn(database.db, table)).toEqual(both)
    if (!(await mayRequest(name, 'select'))) {
      expect(await failureOf(tenantsIn(nobody, table))).toMatch(DENIED)
      return
    }
    expect(await asUs((on) => tenantsIn(on, table))).toEqual([ours])
    expect(await tenantsIn(nobody, table)).toEqual([])
  })

  test('is changed and emptied for the tenant of the request alone when a statement has no filter', async () => {
    const touch = `update ${name} set ${tenant} = ${tenant}`
    const give = `update ${name} set ${tenant} = '${theirs}'`
    const remove = `delete from ${name}`
    const touched = (on: Queryable, text: string) =>
      query<{ id: string }>(on, `${text} returning ${tenant} as id`).then((rows) => rows.map(({ id }) => id))
    for (const [right, text] of [
      ['update', touch],
      ['delete', remove],
    ] as const) {
      const may = await mayRequest(name, right)
      if (may) expect(await asUs((on) => touched(on, text))).toEqual([ours])
      else expect(await failureOf(asUs((on) => touched(on, text)))).toMatch(DENIED)
      if (may) expect(await touched(nobody, text)).toEqual([])
      else expect(await failureOf(touched(nobody, text))).toMatch(DENIED)
    }
    expect(await failureOf(asUs((on) => touched(on, give)))).toMatch(
      (await mayRequest(name, 'update')) ? WALL : DENIED,
    )
    expect(await failureOf(asUs((on) => query(on, `truncate ${name}`)))).toMatch(DENIED)
    expect(await tenantsIn(database.owner, table)).toEqual([ours, theirs].toSorted())
  })

  test('takes no row for another tenant', async () => {
    const [theirRow] = await query<{ row: string }>(
      database.owner,
      `select to_json(t)::text as row from ${name} t where ${tenant} = $1`,
      [theirs],
    )
    // Not those that the table makes itself.
    const [columns] = await query<{ list: string }>(
      database.owner,
      `select string_agg(quote_ident(attname), ', ') as list from pg_attribute
       where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = '' and attidentity <> 'a'`,
      [name],
    )
    const text = `insert into ${name} (${columns?.list}) select ${columns?.list}
                  from json_populate_record(null::${name}, $1)`
    const attempt = (on: Queryable) => query(on, text, [theirRow?.row])
    const expected = (await mayRequest(name, 'insert')) ? WALL : DENIED
    expect(await failureOf(asUs(attempt))).toMatch(expected)
    expect(await failureOf(attempt(nobody))).toMatch(expected)
  })
})

describe('what is not of a tenant', () => {
  test('is closed to requests, and so are the partitions', async () => {
    const open = await query(
      database.owner,
      `select c.relname as name from pg_class c
       where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
         and has_table_privilege('orchestrator_request', c.oid, 'select, insert, update, delete, truncate')
         and not c.relname = any ($1::text[])`,
      [tables.map(({ name }) => name)],
    )
    expect(open).toEqual([])
  })

  test('views ask with the rights of who reads them', async () => {
    const lenders = await query(
      database.owner,
      `select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'v'
         and not coalesce(reloptions @> array['security_invoker=true'], false)`,
    )
    expect(lenders).toEqual([])
  })
})

describe('functions that run as the owner', () => {
  /** They ask themselves for whom a request may act. */
  const FOR_REQUESTS = ['audit_append', 'audit_lock_head']

  test('have a fixed search path, and only those that are named here are for requests', async () => {
    const lent = await query<{ name: string; fixed: boolean; for_requests: boolean }>(
      database.owner,
      `select proname as name, has_function_privilege('orchestrator_request', oid, 'execute') as for_requests,
              coalesce(exists (select from unnest(proconfig) as c where c like 'search_path=%pg_temp'), false) as fixed
       from pg_proc where pronamespace = 'public'::regnamespace and prosecdef order by proname`,
    )
    expect(lent.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['drop_day', 'seal_day', ...FOR_REQUESTS]),
    )
    expect(lent.filter(({ fixed }) => !fixed)).toEqual([])
    expect(lent.filter(({ for_requests }) => for_requests).map(({ name }) => name)).toEqual(FOR_REQUESTS)
  })

  test('and everything else are for nobody but the roles', async () => {
    const everybody = await query(
      database.owner,
      `select relname as name from pg_class, aclexplode(relacl) as a
       where relnamespace = 'public'::regnamespace and a.grantee = 0
       union all
       select proname from pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) as a
       where pronamespace = 'public'::regnamespace and a.grantee = 0`,
    )
    expect(everybody).toEqual([])
  })
})

describe('the roles', () => {
  test('log in nowhere, pass no wall and are members of nothing', async () => {
    const roles = await query(
      database.owner,
      `select rolname, rolcanlogin or rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication as more,
              exists (select from pg_auth_members where member = r.oid) as member
       from pg_roles r where rolname like 'orchestrator\\_%' order by 1`,
    )
    expect(roles).toEqual([
      { rolname: 'orchestrator_request', more: false, member: false },
      { rolname: 'orchestrator_service', more: false, member: false },
    ])
  })

  test.each([
    ['update audit_entry set reason = reason'],
    ['delete from audit_entry'],
    ['truncate audit_entry'],
    ['update audit_head set seq = 0'],
    ['delete from audit_head'],
    ['insert into audit_entry select * from audit_entry'],
    ['alter table audit_entry disable trigger all'],
    ['alter table job add column x int'],
    ['alter table job disable row level security'],
    ['alter table job no force row level security'],
    ['drop policy request on job'],
    ['drop table job_ready'],
    ['create table mine (x int)'],
    ['create function mine() returns int language sql as $$ select 1 $$'],
    ['update config_version set author = author'],
    ['delete from config_version'],
    [`insert into partitioned_table values ('audit_entry', false)`],
    ['delete from schema_migration'],
    [`set session_replication_role = 'replica'`],
    ['create role mine'],
  ])('the processes cannot: %s', async (text) => {
    const failure = await failureOf(query(database.db, text))
    expect(failure).toMatch(/^(permission denied|must be owner)/)
  })
})
