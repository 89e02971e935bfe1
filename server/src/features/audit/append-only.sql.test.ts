import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AuditLog, auditLog } from '../../../testing/audit-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import { listAudit, recordAudit, verifyChain } from './audit.ts'

let database: TestDatabase
let audit: AuditLog

beforeAll(async () => {
  database = await testDatabase()
  audit = await auditLog(database)
})
afterAll(async () => {
  await audit.close()
  await database.drop()
})

const sql = (on: Queryable, text: string, values: unknown[] = []) => on.execute({ name: '', text }, values)

/** What a request of a workspace is on the database. */
const asRequest = <T>(tenantId: string | undefined, work: (tx: Tx) => Promise<T>): Promise<T> =>
  database.db.transaction(async (tx) => {
    await sql(tx, 'set local role orchestrator_request')
    if (tenantId) await sql(tx, `select set_config('orchestrator.tenant_id', $1, true)`, [tenantId])
    return work(tx)
  })

const TABLES = ['audit_entry', 'audit_head', 'audit_checkpoint']
const CHANGES = TABLES.flatMap((table) => [
  [`update ${table} set seq = seq`],
  [`delete from ${table}`],
  [`truncate ${table}`],
  [`insert into ${table} select * from ${table} limit 0`],
]).filter(([text]) => text !== 'insert into audit_checkpoint select * from audit_checkpoint limit 0')

describe('the roles of the services', () => {
  it.each(CHANGES)('may not %s', async (text) => {
    const tenantId = await audit.chainOf(1)
    await expect(sql(database.db, text)).rejects.toThrow('permission denied')
    await expect(asRequest(tenantId, (tx) => sql(tx, text))).rejects.toThrow('permission denied')
  })

  it('may not switch off what keeps entries as they are', async () => {
    for (const text of [
      'alter table audit_entry disable trigger audit_entry_is_immutable',
      'drop trigger audit_entry_is_immutable on audit_entry',
      'alter table audit_entry no force row level security',
      'set session_replication_role = replica',
    ])
      await expect(sql(database.db, text)).rejects.toThrow(/must be owner|permission denied/)
  })

  it('even the owner changes an entry only by switching the trigger off', async () => {
    await audit.chainOf(1)
    await audit.checkpoint()
    for (const table of ['audit_entry', 'audit_checkpoint'])
      for (const text of [`update ${table} set seq = seq`, `delete from ${table}`, `truncate ${table}`])
        await expect(sql(database.owner, text), text).rejects.toThrow('immutable')
  })

  it('a request sees and extends the chain of its workspace', async () => {
    const [mine, other] = [await audit.chainOf(1), await audit.chainOf(1)]
    await asRequest(mine, async (tx) => {
      await recordAudit(tx, { ...CHANGE, tenantId: mine, action: 'thing.changed', object: 'thing:mine' })
      expect(await listAudit(tx, { tenantId: mine, limit: 10 })).toHaveLength(2)
      expect(await listAudit(tx, { tenantId: other, limit: 10 })).toEqual([])
    })
    expect(await verifyChain(database.db, mine)).toMatchObject({ intact: true, entries: 2 })
  })

  it.each([
    ['of another workspace', newId()],
    ['of none', undefined],
  ])('a request %s cannot extend or hold up a chain', async (_name, tenant) => {
    const tenantId = await audit.chainOf(1)
    const entry = { ...CHANGE, tenantId, action: 'thing.changed', object: 'thing:planted' }
    await expect(asRequest(tenant, (tx) => recordAudit(tx, entry))).rejects.toThrow('its own workspace only')
    await expect(
      asRequest(tenant, (tx) => sql(tx, 'select * from audit_lock_head($1)', [tenantId])),
    ).rejects.toThrow('its own workspace only')
    await expect(asRequest(tenant, (tx) => append(tx, tenantId, 2, Buffer.alloc(32, 1)))).rejects.toThrow(
      'its own workspace only',
    )
  })

  it('a request cannot plant a checkpoint', async () => {
    const tenantId = await audit.chainOf(1)
    const text = `insert into audit_checkpoint values ($1, 1, sha256('x'), now(), 'k', 'x')`
    await expect(asRequest(tenantId, (tx) => sql(tx, text, [tenantId]))).rejects.toThrow('permission denied')
  })
})

/** What a stolen login of a service could call itself. */
const append = (on: Queryable, tenantId: string, seq: number, previous: Buffer) =>
  sql(
    on,
    `select audit_append($1, $2, now(), 'svc:thief', null, null, 'a.b', 'a:b', 'r', '[]', null, null, 'r', 't', $3, $4)`,
    [tenantId, seq, previous, Buffer.alloc(32, 7)],
  )

describe('appending', () => {
  it('refuses what does not follow the head', async () => {
    const tenantId = await audit.chainOf(2)
    const last = (await listAudit(database.db, { tenantId, limit: 1 })).at(0)
    const head = Buffer.from(last?.hash ?? '', 'hex')
    for (const [seq, previous] of [
      [2, head],
      [4, head],
      [3, Buffer.alloc(32)],
      [1, Buffer.alloc(32)],
    ] as const)
      await expect(append(database.db, tenantId, seq, previous)).rejects.toThrow('does not follow the head')
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true, entries: 2 })
  })

  it('takes an entry with a wrong hash from a thief, and verification names it', async () => {
    const tenantId = await audit.chainOf(1)
    const last = (await listAudit(database.db, { tenantId, limit: 1 })).at(0)
    await append(database.db, tenantId, 2, Buffer.from(last?.hash ?? '', 'hex'))
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: false, seq: 2 })
  })

  it('does not look into schemas that its caller put before', async () => {
    const tenantId = await audit.chainOf(1)
    await database.db.transaction(async (tx) => {
      await sql(
        tx,
        'create temporary table audit_head (tenant_id uuid, seq bigint, hash bytea) on commit drop',
      )
      await recordAudit(tx, { ...CHANGE, tenantId, action: 'thing.changed', object: 'thing:2' })
    })
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true, entries: 2 })
  })
})
