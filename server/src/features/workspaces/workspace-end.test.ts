import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { listAudit, verifyChain } from '../audit/audit.ts'
import { firstConfig } from '../configs/configs.ts'
import { createIdentity } from '../identities/identities.ts'
import { purgeDueWorkspaces } from './purge.ts'
import {
  createWorkspace,
  createWorkspaceDirectory,
  deleteWorkspace,
  restoreWorkspace,
  setWorkspaceStatus,
  type Workspace,
} from './workspaces.ts'

let database: TestDatabase
let count = 0
const deps = () => ({ db: database.db, environment: 'dev' as const })

beforeAll(async () => {
  database = await testDatabase()
})
afterAll(() => database.drop())
/** Leaves nothing that is due for the next test. */
beforeEach(async () => void (await purgeDueWorkspaces(deps())))

const query = <Row extends object>(text: string, values: readonly unknown[] = []) =>
  database.owner.execute<Row & Record<string, unknown>>({ name: `t.${newId()}`, text }, values)

/** A workspace with rows in many tables, made through their features and, for the queue, by hand. */
async function livedIn(): Promise<Workspace> {
  count += 1
  const workspace = await createWorkspace(deps(), { slug: `gone${count}-dev`, name: 'Gone' }, CHANGE, {
    firstConfig,
  })
  const { id } = workspace
  await createIdentity(
    database.db,
    { tenantId: id, name: 'svc:one', scopes: ['orchestrator.execute'] },
    CHANGE,
  )
  await query(
    `insert into secret_ref (tenant_id, name, ref) values ($1, 'a', 'file://a'), ($1, 'b', 'file://b')`,
    [id],
  )
  for (let job = 0; job < 5; job += 1)
    await query(
      'insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt) values (2, $1, 1, 2, $2, 1)',
      [id, newId()],
    )
  return workspace
}

async function tablesOf(): Promise<{ name: string; column: string }[]> {
  const { rows } = await query<{ name: string; column: string }>(
    'select name::text as name, tenant_column as column from workspace_table',
  )
  return rows
}

/** Rows of the workspace by table; tables without any are left out. */
async function rowsOf(id: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  for (const { name, column } of await tablesOf()) {
    const { rows } = await query<{ rows: number }>(
      `select count(*) as rows from ${name} where ${column} = $1`,
      [id],
    )
    if (rows[0]?.rows) found[name] = rows[0].rows
  }
  return found
}

const begin = ({ id, slug }: Workspace, graceDays = 0) =>
  deleteWorkspace(deps(), { id, confirm: slug, graceDays }, CHANGE)
/** Lets the grace be over, by the only clock that counts. */
const elapse = ({ id }: Workspace) =>
  query(`update workspace set delete_after = now() - interval '1 second' where id = $1`, [id])
const statusOf = async ({ id }: Workspace) =>
  (await query<{ status: string; name: string }>('select status, name from workspace where id = $1', [id]))
    .rows[0]

describe('the tables of a workspace', () => {
  it('are all known: whatever table names a tenant or refers to a workspace goes with it', async () => {
    const { rows } = await query<{ name: string }>(
      `select distinct c.table_name::text as name
       from information_schema.columns c
       join pg_class p on p.relname = c.table_name and p.relnamespace = current_schema()::regnamespace
       where c.table_schema = current_schema() and c.column_name in ('tenant_id', 'workspace_id')
         and p.relkind in ('r', 'p') and not p.relispartition`,
    )
    const known = new Set((await tablesOf()).map(({ name }) => name))
    const unknown = rows.map(({ name }) => name).filter((name) => !known.has(name))
    expect(unknown.sort()).toEqual(['audit_checkpoint', 'audit_entry', 'audit_head', 'audit_start'])
    expect(known.size).toBeGreaterThan(25)
  })

  it('take a new one in by themselves', async () => {
    await query('create table later_thing (tenant_id uuid primary key)')
    try {
      const workspace = await livedIn()
      await query('insert into later_thing values ($1)', [workspace.id])
      await begin(workspace)
      await elapse(workspace)
      await purgeDueWorkspaces(deps())
      expect(await rowsOf(workspace.id)).toEqual({})
    } finally {
      await query('drop table later_thing')
    }
  })
})

describe('a deletion', () => {
  it('removes every row in small steps, keeps name and audit log, and ends the chain with its entry', async () => {
    const [workspace, neighbour] = [await livedIn(), await livedIn()]
    const before = await rowsOf(neighbour.id)
    expect(Object.keys(await rowsOf(workspace.id)).length).toBeGreaterThan(5)
    await begin(workspace)
    await elapse(workspace)
    expect(await purgeDueWorkspaces(deps(), { rowsPerStep: 2 })).toEqual({
      buried: [workspace.slug],
      failed: [],
    })
    expect(await rowsOf(workspace.id)).toEqual({})
    expect(await rowsOf(neighbour.id)).toEqual(before)
    expect(await statusOf(workspace)).toEqual({ status: 'deleted', name: workspace.slug })
    const [last] = await listAudit(database.db, { tenantId: workspace.id, limit: 1 })
    expect(last).toMatchObject({ action: 'workspace.deleted', actor: 'system:worker' })
    expect((await verifyChain(database.db, workspace.id)).intact).toBe(true)
    await expect(
      createWorkspace(deps(), { slug: workspace.slug, name: 'Again' }, CHANGE),
    ).rejects.toMatchObject({ code: 'conflict' })
  })

  it('goes on after a crash in the middle', async () => {
    const workspace = await livedIn()
    await begin(workspace)
    await elapse(workspace)
    let steps = 0
    const crashing = {
      ...deps(),
      db: {
        ...database.db,
        transaction: (async (work) => {
          steps += 1
          if (steps > 2) throw new Error('crashed')
          return database.db.transaction(work)
        }) as typeof database.db.transaction,
      },
    }
    expect(await purgeDueWorkspaces(crashing, { rowsPerStep: 3 })).toMatchObject({
      buried: [],
      failed: [{ slug: workspace.slug, error: new Error('crashed') }],
    })
    expect(await rowsOf(workspace.id)).not.toEqual({})
    expect((await purgeDueWorkspaces(deps(), { rowsPerStep: 3 })).buried).toEqual([workspace.slug])
    expect(await rowsOf(workspace.id)).toEqual({})
  })

  it('of one that cannot be removed does not hold up the others', async () => {
    const made = [await livedIn(), await livedIn(), await livedIn()]
    for (const each of made) {
      await begin(each)
      await elapse(each)
    }
    const [stuck] = made
    await query(`create function no_removal() returns trigger language plpgsql as
      $$ begin if old.tenant_id = '${stuck?.id}' then raise 'not this one'; end if; return old; end $$`)
    await query(
      'create trigger no_removal before delete on secret_ref for each row execute function no_removal()',
    )
    const first = await purgeDueWorkspaces(deps())
    await query('drop function no_removal cascade')
    expect([...first.buried].sort()).toEqual(made.slice(1).map(({ slug }) => slug))
    expect(first.failed.map(({ slug }) => slug)).toEqual([stuck?.slug])
    expect((await purgeDueWorkspaces(deps())).buried).toEqual([stuck?.slug])
  })

  it('is done once by two workers at once', async () => {
    const workspace = await livedIn()
    await begin(workspace)
    await elapse(workspace)
    const both = await Promise.all([1, 2].map(() => purgeDueWorkspaces(deps(), { rowsPerStep: 2 })))
    expect(both.flatMap(({ buried }) => buried)).toEqual([workspace.slug])
    const entries = await listAudit(database.db, { tenantId: workspace.id, limit: 50 })
    expect(entries.filter(({ action }) => action === 'workspace.deleted')).toHaveLength(1)
  })

  it('never begins before its time, nor touches what is not being deleted', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('active', 'suspended', 'early', 'due', 'restored'), {
          minLength: 1,
          maxLength: 4,
        }),
        async (fates) => {
          const made = await Promise.all(fates.map(async (fate) => ({ fate, workspace: await livedIn() })))
          for (const { fate, workspace } of made) {
            if (fate === 'suspended')
              await setWorkspaceStatus(deps(), { id: workspace.id, status: 'suspended' }, CHANGE)
            if (fate !== 'active' && fate !== 'suspended') await begin(workspace)
            if (fate === 'due') await elapse(workspace)
            if (fate === 'restored') await restoreWorkspace(deps(), workspace.id, CHANGE)
          }
          const rows = await Promise.all(made.map(({ workspace }) => rowsOf(workspace.id)))
          await purgeDueWorkspaces(deps(), { rowsPerStep: 4 })
          for (const [at, { fate, workspace }] of made.entries())
            expect(await rowsOf(workspace.id)).toEqual(fate === 'due' ? {} : rows[at])
        },
      ),
      { numRuns: 8 },
    )
  })

  it('is refused by the database itself for a workspace that lives, whoever asks', async () => {
    const workspace = await livedIn()
    const purge = () =>
      database.db.execute({ name: 't.purge', text: 'select purge_workspace($1, 10)' }, [workspace.id])
    await expect(purge()).rejects.toThrow('has not come')
    await begin(workspace, 7)
    await expect(purge()).rejects.toThrow('has not come')
    await expect(
      database.owner.execute({ name: 't.del', text: 'delete from config_version where tenant_id = $1' }, [
        workspace.id,
      ]),
    ).rejects.toThrow('immutable')
  })
})

describe('calling a deletion off', () => {
  it('gives the workspace its status from before back', async () => {
    const workspace = await livedIn()
    await setWorkspaceStatus(deps(), { id: workspace.id, status: 'suspended' }, CHANGE)
    expect(await begin(workspace, 3)).toMatchObject({ status: 'deleting' })
    await expect(begin(workspace)).rejects.toMatchObject({ code: 'conflict' })
    await expect(
      setWorkspaceStatus(deps(), { id: workspace.id, status: 'active' }, CHANGE),
    ).rejects.toMatchObject({ code: 'conflict' })
    expect(await restoreWorkspace(deps(), workspace.id, CHANGE)).toMatchObject({
      status: 'suspended',
      deleteAfter: null,
    })
  })

  it('is too late when the grace is over, also before anything was removed', async () => {
    const workspace = await livedIn()
    await begin(workspace)
    await elapse(workspace)
    await expect(restoreWorkspace(deps(), workspace.id, CHANGE)).rejects.toMatchObject({ code: 'conflict' })
  })

  it('needs the right name for the deletion, and has nothing to do for one that lives', async () => {
    const { id } = await livedIn()
    await expect(
      deleteWorkspace(deps(), { id, confirm: 'another-dev', graceDays: 1 }, CHANGE),
    ).rejects.toMatchObject({ code: 'validation_error' })
    await expect(restoreWorkspace(deps(), id, CHANGE)).rejects.toMatchObject({ code: 'conflict' })
  })
})

it('the directory tells a workspace that is being deleted, and none when it is gone', async () => {
  const workspace = await livedIn()
  const directory = createWorkspaceDirectory({ ...database.platform, ...deps(), pollMs: 10 })
  expect((await directory.find(workspace.id))?.status).toBe('active')
  await begin(workspace)
  await expect.poll(async () => (await directory.find(workspace.id))?.status).toBe('deleting')
  await elapse(workspace)
  await purgeDueWorkspaces(deps())
  await expect.poll(() => directory.find(workspace.id)).toBeUndefined()
  directory.close()
})
