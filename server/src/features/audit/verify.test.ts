import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AuditLog, auditLog } from '../../../testing/audit-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { newId } from '../../platform/ids.ts'
import { type ChainState, verifyAllChains, verifyChain } from './audit.ts'
import { entryHash, GENESIS_HASH } from './chain.ts'
import { formatCheckpoint, parseCheckpoint, signCheckpoint } from './checkpoint.ts'
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

const verified = (tenantId: string): Promise<ChainState> => verifyChain(database.db, tenantId, audit.evidence)

const rowsOf = async (tenantId: string) =>
  (
    await database.db.execute<Parameters<typeof entryHash>[1] & { hash: Buffer }>(
      { name: '', text: 'select * from audit_entry where tenant_id = $1 order by seq' },
      [tenantId],
    )
  ).rows

/** Writes the chain anew from an entry on, every hash right again, and the head with it. */
async function rewrite(tenantId: string, from: number, reason: string): Promise<void> {
  let previous = GENESIS_HASH
  const statements: string[] = []
  for (const row of await rowsOf(tenantId)) {
    const changed = row.seq >= from ? { ...row, reason } : row
    const hash = entryHash(previous, changed) ?? GENESIS_HASH
    statements.push(
      `update audit_entry set reason = '${changed.reason}', previous_hash = '\\x${previous.toString('hex')}',
         hash = '\\x${hash.toString('hex')}' where tenant_id = $1 and seq = ${row.seq}`,
    )
    previous = hash
  }
  statements.push(`update audit_head set hash = '\\x${previous.toString('hex')}' where tenant_id = $1`)
  await audit.damage(tenantId, ...statements)
}

const CUT_WITH_HEAD = (length: number): string[] => [
  `delete from audit_entry where tenant_id = $1 and seq > ${length}`,
  `update audit_head set seq = ${length},
     hash = (select hash from audit_entry e where e.tenant_id = $1 and e.seq = ${length}) where tenant_id = $1`,
]

describe('the chain and its head show', () => {
  it.each<[string, number, string]>([
    ['an edited reason', 2, `update audit_entry set reason = 'x' where tenant_id = $1 and seq = 2`],
    ['an edited first actor', 1, `update audit_entry set actor = 'x' where tenant_id = $1 and seq = 1`],
    ['an edited role', 2, `update audit_entry set role = 'admin' where tenant_id = $1 and seq = 2`],
    [
      'a planted impersonator',
      3,
      `update audit_entry set impersonator = 'x' where tenant_id = $1 and seq = 3`,
    ],
    ['another address', 3, `update audit_entry set ip = '10.0.0.1' where tenant_id = $1 and seq = 3`],
    ['another client', 3, `update audit_entry set user_agent = 'x' where tenant_id = $1 and seq = 3`],
    ['an edited diff', 3, `update audit_entry set diff = '[]' where tenant_id = $1 and seq = 3`],
    [
      'an older version of the hash',
      2,
      'update audit_entry set hash_version = 1 where tenant_id = $1 and seq = 2',
    ],
    [
      'a time moved by a millisecond',
      2,
      `update audit_entry set at = at + interval '1 ms' where tenant_id = $1 and seq = 2`,
    ],
    ['a deleted entry', 2, 'delete from audit_entry where tenant_id = $1 and seq = 2'],
    ['the first deleted', 1, 'delete from audit_entry where tenant_id = $1 and seq = 1'],
    ['the tail cut', 3, 'delete from audit_entry where tenant_id = $1 and seq >= 3'],
    ['everything deleted', 1, 'delete from audit_entry where tenant_id = $1'],
    [
      'an entry before the first',
      0,
      `insert into audit_entry (tenant_id, seq, at, actor, action, object, reason, previous_hash, hash)
       select tenant_id, 0, at, actor, action, object, reason, previous_hash, hash from audit_entry
       where tenant_id = $1 and seq = 1`,
    ],
    [
      'a head set back',
      4,
      `update audit_head set seq = 3, hash = (select hash from audit_entry e where e.tenant_id = $1 and e.seq = 3)
       where tenant_id = $1`,
    ],
    ['a head removed', 1, 'delete from audit_head where tenant_id = $1'],
    ['a head rewritten', 4, `update audit_head set hash = sha256('x') where tenant_id = $1`],
    ['a hash replaced', 4, `update audit_entry set hash = sha256('x') where tenant_id = $1 and seq = 4`],
  ])('%s, at entry %i', async (_name, seq, text) => {
    const tenantId = await audit.chainOf(4)
    await audit.damage(tenantId, text)
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: false, seq })
  })

  it('two entries that changed places', async () => {
    const tenantId = await audit.chainOf(4)
    await audit.damage(
      tenantId,
      'update audit_entry set seq = 99 where tenant_id = $1 and seq = 2',
      'update audit_entry set seq = 2 where tenant_id = $1 and seq = 3',
      'update audit_entry set seq = 3 where tenant_id = $1 and seq = 99',
    )
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: false, seq: 2 })
  })

  it('an entry swapped for one of another workspace, on both sides', async () => {
    const [mine, other] = [await audit.chainOf(3), await audit.chainOf(3)]
    const spare = newId()
    const move = (from: string, to: string): string =>
      `update audit_entry set tenant_id = '${to}' where tenant_id = '${from}' and seq = 2`
    await audit.damage(mine, move(mine, spare), move(other, mine), move(spare, other))
    for (const tenantId of [mine, other])
      expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: false, seq: 2 })
  })

  it('nothing on entries from before there were roles and clients, and what was added to one', async () => {
    const tenantId = await audit.chainOf(1)
    const [entry] = await rowsOf(tenantId)
    if (!entry) throw new Error('no entry')
    const hash = entryHash(GENESIS_HASH, { ...entry, hash_version: 1 })
    await audit.damage(
      tenantId,
      `update audit_entry set hash_version = 1, hash = '\\x${hash?.toString('hex')}' where tenant_id = $1`,
      `update audit_head set hash = '\\x${hash?.toString('hex')}' where tenant_id = $1`,
    )
    await audit.record(tenantId)
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true, entries: 2 })
    await audit.damage(tenantId, `update audit_entry set role = 'admin' where tenant_id = $1 and seq = 1`)
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: false, seq: 1 })
  })
})

describe('checkpoints show', () => {
  it('that all is well, and how many agree', async () => {
    const tenantId = await audit.chainOf(2)
    await audit.checkpoint()
    await audit.record(tenantId)
    expect(await verified(tenantId)).toMatchObject({ intact: true, entries: 3, checkpoints: 2 })
  })

  it('a chain that was cut together with its head, by its first missing entry', async () => {
    const tenantId = await audit.chainOf(4)
    await audit.checkpoint()
    await audit.damage(tenantId, ...CUT_WITH_HEAD(2))
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true })
    expect(await verified(tenantId)).toMatchObject({
      intact: false,
      seq: 3,
      why: expect.stringContaining('signed 4 entries'),
    })
  })

  it('the same by the file alone: a backup of before was brought back', async () => {
    const tenantId = await audit.chainOf(4)
    await audit.checkpoint()
    await audit.damage(tenantId, ...CUT_WITH_HEAD(2), 'delete from audit_checkpoint where tenant_id = $1')
    expect(await verified(tenantId)).toMatchObject({
      intact: false,
      seq: 3,
      why: expect.stringContaining('in the file'),
    })
  })

  it('a chain that was rewritten with all hashes, its head and its checkpoints', async () => {
    const tenantId = await audit.chainOf(2)
    await audit.checkpoint()
    await audit.record(tenantId)
    await audit.record(tenantId)
    await audit.checkpointAgain()
    await rewrite(tenantId, 3, 'never happened')
    await audit.damage(tenantId, 'delete from audit_checkpoint where tenant_id = $1')
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true })
    expect(await verified(tenantId)).toMatchObject({
      intact: false,
      seq: 4,
      why: expect.stringContaining('entries from 3 to here were rewritten'),
    })
  })

  it('a forged checkpoint: changed, of another key, or past the end', async () => {
    const key = `'${'A'.repeat(43)}'`
    for (const [seq, text] of [
      [3, `update audit_checkpoint set hash = sha256('x') where tenant_id = $1`],
      [3, `update audit_checkpoint set at = at + interval '1 s' where tenant_id = $1`],
      [3, `update audit_checkpoint set kid = ${key} where tenant_id = $1`],
      [2, 'update audit_checkpoint set seq = 2 where tenant_id = $1'],
      [9, 'update audit_checkpoint set seq = 9 where tenant_id = $1'],
    ] as const) {
      const tenantId = await audit.chainOf(3)
      await audit.checkpoint()
      await audit.damage(tenantId, text)
      expect(await verified(tenantId), text).toMatchObject({
        intact: false,
        seq,
        why: expect.stringMatching(/signature of the hub|key file/),
      })
    }
  })

  it('a line of the file that says something else, and does not stumble over a torn one', async () => {
    const tenantId = await audit.chainOf(3)
    await audit.checkpoint()
    const { file, keys } = audit.evidence
    const good = await readFile(file, 'utf8')
    const lines = good.trimEnd().split('\n')
    const mine = parseCheckpoint(lines.find((line) => line.includes(tenantId)) ?? '')
    if (!mine) throw new Error('no line')
    await writeFile(file, `${good}{"tenant_id":"torn`)
    const signed = await signCheckpoint(keys, { ...mine, at: new Date() })
    await appendCheckpoints(file, [signed])
    expect(await verified(tenantId)).toMatchObject({ intact: true, checkpoints: 3 })
    const forged = formatCheckpoint({ ...mine, hash: Buffer.alloc(32, 1) })
    await writeFile(file, `${good}${forged}\n`)
    expect(await verified(tenantId)).toMatchObject({ intact: false, seq: 3 })
    await writeFile(file, good)
  })

  it('nothing wrong after the key was rotated', async () => {
    const tenantId = await audit.chainOf(1)
    await audit.checkpoint()
    await audit.evidence.keys.rotate()
    await audit.record(tenantId)
    await audit.checkpointAgain()
    expect(await verified(tenantId)).toMatchObject({ intact: true, checkpoints: 4 })
  })

  it('a workspace of which nothing is left, among all others', async () => {
    const [gone, whole] = [await audit.chainOf(2), await audit.chainOf(1)]
    await audit.checkpoint()
    await audit.damage(
      gone,
      ...['audit_entry', 'audit_head', 'audit_checkpoint'].map(
        (table) => `delete from ${table} where tenant_id = $1`,
      ),
    )
    const states = new Map<string, ChainState>()
    for await (const { tenantId, state } of verifyAllChains(database.db, audit.evidence))
      states.set(tenantId, state)
    expect(states.get(gone)).toMatchObject({ intact: false, seq: 1 })
    expect(states.get(whole)).toMatchObject({ intact: true })
  })
})

describe('a round of checkpoints', () => {
  it('signs a new chain at once, then nothing until there is something new for an hour or much of it', async () => {
    const tenantId = await audit.chainOf(1)
    const count = async () => (await verified(tenantId)) as { intact: true; checkpoints: number }
    await audit.checkpoint()
    await audit.record(tenantId)
    await audit.checkpoint()
    expect((await count()).checkpoints).toBe(2)
    for (let n = 0; n < 99; n += 1) await audit.record(tenantId)
    await audit.checkpoint()
    expect((await count()).checkpoints).toBe(4)
    await audit.record(tenantId)
    await audit.checkpointAgain()
    expect(await count()).toMatchObject({ intact: true, entries: 102, checkpoints: 6 })
  })

  it('does not sign what was changed, and says so once', async () => {
    const tenantId = await audit.chainOf(3)
    await audit.damage(tenantId, `update audit_entry set reason = 'x' where tenant_id = $1 and seq = 2`)
    await audit.checkpoint()
    await audit.checkpoint()
    const told = audit.lines().filter((line) => line.tenant_id === tenantId)
    expect(told).toMatchObject([{ level: 'error', seq: 2 }])
    expect(await readFile(audit.evidence.file, 'utf8')).not.toContain(tenantId)
  })

  it('notices a chain that became shorter', async () => {
    const tenantId = await audit.chainOf(3)
    await audit.checkpoint()
    await audit.damage(tenantId, ...CUT_WITH_HEAD(1))
    await audit.checkpoint()
    expect(audit.lines().filter((line) => line.tenant_id === tenantId)).toMatchObject([
      { level: 'error', seq: 2 },
    ])
  })
})
