import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type AuditLog, auditLog } from '../../../testing/audit-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { type NewAuditEntry, verifyChain } from './audit.ts'

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

/** What Postgres can keep as text; half surrogates are made well-formed on the way. */
const text = fc.string({ unit: 'binary', maxLength: 20 }).map((any) => any.replaceAll('\0', ''))
const filled = text.map((any) => `x${any}`)

const entry: fc.Arbitrary<Partial<NewAuditEntry>> = fc
  .record({
    actor: filled,
    role: fc.option(text, { nil: undefined }),
    impersonator: fc.option(text, { nil: undefined }),
    object: filled,
    reason: filled,
    diff: fc.array(fc.record({ path: text, before: fc.jsonValue(), after: fc.jsonValue() }), {
      maxLength: 3,
    }),
    client: fc.option(fc.record({ ip: fc.ipV6(), userAgent: fc.option(text) }), { nil: undefined }),
  })
  .map(({ client, role, impersonator, ...rest }) => ({
    ...rest,
    ...(role !== undefined && { role }),
    ...(impersonator !== undefined && { impersonator }),
    call: { ...CHANGE.call, ...(client && { client }) },
  }))

/** One thing that somebody does to a chain of `length`, and the first entry that is bad then. */
interface Damage {
  readonly what: string
  readonly statements: readonly string[]
  readonly first: number
}

const EDITS = [
  ...[
    'actor',
    'role',
    'impersonator',
    'action',
    'object',
    'reason',
    'ip',
    'user_agent',
    'request_id',
    'trace_id',
  ].map((column) => `${column} = coalesce(${column}, '') || 'x'`),
  `diff = '["changed"]'`,
  `at = at - interval '1 ms'`,
  'hash_version = 1',
  `hash = sha256(hash)`,
  `previous_hash = sha256(previous_hash)`,
]

const damageOf = (length: number, other: string): fc.Arbitrary<Damage> => {
  const at = fc.integer({ min: 1, max: length })
  const entryAt = (seq: number): string => `tenant_id = $1 and seq = ${seq}`
  const headAt = (seq: number): string =>
    `update audit_head set seq = ${seq}, hash = coalesce((select hash from audit_entry where ${entryAt(seq)}),
       decode(repeat('00', 32), 'hex')) where tenant_id = $1`
  const move = (from: number, to: number): string =>
    `update audit_entry set seq = ${to} where ${entryAt(from)}`
  return fc.oneof(
    fc.tuple(at, fc.constantFrom(...EDITS)).map(([first, edit]) => ({
      ...{ what: `${edit} at ${first}`, first },
      statements: [`update audit_entry set ${edit} where ${entryAt(first)}`],
    })),
    at.map((first) => ({
      ...{ what: `entry ${first} deleted`, first },
      statements: [`delete from audit_entry where ${entryAt(first)}`],
    })),
    fc
      .tuple(at, at)
      .filter(([one, two]) => one < two || length === 1)
      .map(([one, two]) => ({
        ...{ what: `${one} and ${two} swapped`, first: one },
        // Alone it has nobody to change places with.
        statements: one === two ? [move(one, 99)] : [move(one, 99), move(two, one), move(99, two)],
      })),
    at.map((first) => ({
      ...{ what: `tail cut from ${first}`, first },
      statements: [`delete from audit_entry where tenant_id = $1 and seq >= ${first}`],
    })),
    at.map((first) => ({
      ...{ what: `tail and head cut from ${first}`, first },
      statements: [`delete from audit_entry where tenant_id = $1 and seq >= ${first}`, headAt(first - 1)],
    })),
    at.map((first) => ({
      ...{ what: `entry ${first} of another workspace`, first },
      statements: [
        `delete from audit_entry where ${entryAt(first)}`,
        `insert into audit_entry select ($1::uuid), ${[
          ...[
            'seq',
            'at',
            'actor',
            'action',
            'object',
            'reason',
            'diff',
            'request_id',
            'trace_id',
            'previous_hash',
          ],
          ...['hash', 'hash_version', 'role', 'impersonator', 'ip', 'user_agent'],
        ].join(', ')} from audit_entry where tenant_id = '${other}' and seq = ${first}`,
      ],
    })),
    fc.constant({
      ...{ what: 'an entry that the head does not know', first: length + 1 },
      statements: [
        `insert into audit_entry (tenant_id, seq, at, actor, action, object, reason, previous_hash, hash)
         select tenant_id, seq + 1, at, actor, action, object, reason, hash, hash from audit_entry where ${entryAt(length)}`,
      ],
    }),
    fc.constant({
      ...{ what: 'the head names another entry', first: length },
      statements: ['update audit_head set hash = sha256(hash) where tenant_id = $1'],
    }),
    at.map((seq) => ({
      ...{ what: `the checkpoint moved to ${seq} or its hash changed`, first: seq },
      statements: [`update audit_checkpoint set seq = ${seq}, hash = sha256(hash) where tenant_id = $1`],
    })),
  )
}

it('names the first bad entry of any chain after any damage', { timeout: 60_000 }, async () => {
  const longest = 7
  const other = await audit.chainOf(longest)
  const cases = fc
    .array(entry, { minLength: 1, maxLength: longest })
    .chain((entries) => fc.record({ entries: fc.constant(entries), damage: damageOf(entries.length, other) }))
  await fc.assert(
    fc.asyncProperty(cases, async ({ entries, damage }) => {
      const tenantId = newId()
      for (const each of entries) await audit.record(tenantId, each)
      await audit.checkpoint()
      expect(await verifyChain(database.db, tenantId, audit.evidence)).toMatchObject({
        intact: true,
        entries: entries.length,
        checkpoints: 2,
      })
      await audit.damage(tenantId, ...damage.statements)
      expect(await verifyChain(database.db, tenantId, audit.evidence), damage.what).toMatchObject({
        intact: false,
        seq: damage.first,
      })
    }),
    { numRuns: 80 },
  )
})
