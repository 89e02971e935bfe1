import { afterAll, beforeAll, expect, it } from 'vitest'
import { type AuditLog, auditLog } from '../../../testing/audit-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { newId } from '../../platform/ids.ts'
import { insertCheckpoint } from './audit.sql.ts'
import { pruneAudit, verifyChain } from './audit.ts'
import { entryHash, GENESIS_HASH, HASH_VERSION } from './chain.ts'
import { signCheckpoint } from './checkpoint.ts'
import { appendCheckpoints } from './checkpoint-file.ts'

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

const DAY_MS = 86_400_000
const daysAgo = (days: number): Date => new Date(Date.now() - days * DAY_MS)

/** A chain with entries of these ages, oldest first, as it was written at the time. */
async function chainOfAges(...ages: readonly number[]): Promise<string> {
  const tenantId = newId()
  const statements: string[] = []
  let previous = GENESIS_HASH
  for (const [index, age] of ages.entries()) {
    const entry = {
      ...{ tenant_id: tenantId, seq: index + 1, at: daysAgo(age), hash_version: HASH_VERSION },
      ...{ actor: 'svc:then', role: null, impersonator: null, action: 'thing.changed', object: 'thing' },
      ...{ reason: 'then', diff: [], ip: null, user_agent: null, request_id: 'r', trace_id: 't' },
    }
    const hash = entryHash(previous, entry) ?? GENESIS_HASH
    statements.push(
      `insert into audit_entry (tenant_id, seq, at, hash_version, actor, action, object, reason, diff, request_id,
                                trace_id, previous_hash, hash)
       values ($1, ${entry.seq}, '${entry.at.toISOString()}', ${HASH_VERSION}, 'svc:then', 'thing.changed', 'thing',
               'then', '[]', 'r', 't', '\\x${previous.toString('hex')}', '\\x${hash.toString('hex')}')`,
    )
    previous = hash
  }
  statements.push(
    `insert into audit_head (tenant_id, seq, hash) values ($1, ${ages.length}, '\\x${previous.toString('hex')}')`,
  )
  await audit.damage(tenantId, ...statements)
  return tenantId
}

/** As the hub signed it so many days ago, in the database and the file. */
async function signed(tenantId: string, seq: number, age: number): Promise<void> {
  const { rows } = await database.db.execute<{ hash: Buffer }>(
    { name: '', text: 'select hash from audit_entry where tenant_id = $1 and seq = $2' },
    [tenantId, seq],
  )
  const [row] = rows
  if (!row) throw new Error('no entry')
  const { keys, file } = audit.evidence
  const checkpoint = await signCheckpoint(keys, { tenantId, seq, hash: row.hash, at: daysAgo(age) })
  await appendCheckpoints(file, [checkpoint])
  await insertCheckpoint(database.db, { ...checkpoint, tenant_id: tenantId })
}

const seqs = async (tenantId: string): Promise<number[]> =>
  (
    await database.db.execute<{ seq: number }>(
      { name: '', text: 'select seq from audit_entry where tenant_id = $1 order by seq' },
      [tenantId],
    )
  ).rows.map(({ seq }) => seq)
const verified = (tenantId: string) => verifyChain(database.db, tenantId, audit.evidence)

it('takes old entries up to a signed checkpoint, and the chain still verifies and grows', async () => {
  const tenantId = await chainOfAges(400, 390, 380, 10)
  await signed(tenantId, 2, 389)
  await signed(tenantId, 4, 9)
  expect(await pruneAudit(database.db, { days: 365 })).toBe(2)
  // The third is old enough, but nothing signed speaks for it alone.
  expect(await seqs(tenantId)).toEqual([3, 4])
  expect(await verified(tenantId)).toMatchObject({ intact: true, entries: 2, removed: 2, checkpoints: 4 })
  await audit.record(tenantId)
  expect(await verified(tenantId)).toMatchObject({ intact: true, entries: 3, removed: 2 })
  expect(await pruneAudit(database.db, { days: 365 })).toBe(0)
})

it('takes nothing of a chain that nobody has signed, nor what is young in itself', async () => {
  const unsigned = await chainOfAges(400, 390)
  const young = await chainOfAges(10)
  // The clock of the host was wrong by two years when it signed.
  await signed(young, 1, 730)
  await pruneAudit(database.db, { days: 365 })
  expect(await seqs(unsigned)).toEqual([1, 2])
  expect(await seqs(young)).toEqual([1])
})

it('keeps to the days of the workspace, and never below thirty', async () => {
  const [longer, shorter] = [await chainOfAges(400), await chainOfAges(100)]
  await signed(longer, 1, 399)
  await signed(shorter, 1, 99)
  for (const [tenantId, days] of [
    [longer, 730],
    [shorter, 90],
  ] as const)
    await database.db.execute(
      {
        name: '',
        text: `insert into workspace_retention (tenant_id, subject, days) values ($1, 'audit', $2)`,
      },
      [tenantId, days],
    )
  await pruneAudit(database.db, { days: 365 })
  expect(await seqs(longer)).toEqual([1])
  expect(await seqs(shorter)).toEqual([])
  await expect(pruneAudit(database.db, { days: 29 })).rejects.toThrow(/30 days at least/)
})

it('cannot be used to hide: verification names a beginning that is young, or that nothing signed', async () => {
  const hidden = await audit.chainOf(3)
  await audit.checkpoint()
  const begin = (seq: number) => `insert into audit_start
    select tenant_id, seq, hash, at - interval '400 days', now() from audit_entry where tenant_id = $1 and seq = ${seq}`
  await audit.damage(hidden, begin(3), 'delete from audit_entry where tenant_id = $1 and seq <= 3')
  expect(await verified(hidden)).toMatchObject({
    intact: false,
    seq: 3,
    why: expect.stringContaining('before their time'),
  })
  const cut = await audit.chainOf(3)
  await audit.damage(cut, begin(2), 'delete from audit_entry where tenant_id = $1 and seq <= 2')
  expect(await verified(cut)).toMatchObject({
    intact: false,
    seq: 2,
    why: expect.stringContaining('no signed'),
  })
})

it('still refuses to let go of an entry that is kept', async () => {
  const tenantId = await chainOfAges(400, 10)
  await signed(tenantId, 1, 399)
  await pruneAudit(database.db, { days: 365 })
  const remove = { name: '', text: 'delete from audit_entry where tenant_id = $1' }
  await expect(database.owner.execute(remove, [tenantId])).rejects.toThrow(/immutable/)
  await expect(database.db.execute(remove, [tenantId])).rejects.toThrow(/permission denied/)
  expect(await seqs(tenantId)).toEqual([2])
})
