/**
 * The audit log: who changed what in a workspace, when and why.
 *
 * Invariants. An entry commits with the change that it tells, or neither does. Entries are never updated or
 * deleted (a trigger refuses it). The entries of a workspace are numbered 1, 2, 3, … without gap, and each holds
 * the hash of the one before it; `audit_head` holds the last, so that also a cut tail shows. Whoever can
 * rewrite the whole database can rewrite the chain: keep the head that `verifyChain` gives somewhere else.
 */
import { type TString, Type } from 'typebox'
import type { Principal } from '../../platform/auth/principal.ts'
import type { CallContext } from '../../platform/call-context.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { appendEntry, type EntryFilter, findHead, listChain, listEntries, lockHead } from './audit.sql.ts'
import { entryHash, GENESIS_HASH } from './chain.ts'

/** The field `reason` of every mutation on control. */
export const Reason: TString = Type.String({
  minLength: 1,
  maxLength: 500,
  pattern: '\\S',
  description: 'Why this is done, for the audit log. 1 to 500 characters.',
})

/** Who makes a change. */
export interface Author {
  /** The subject of the token. */
  readonly actor: string
  /** Roles of a person, joined by commas; absent for machines. */
  readonly role?: string
  /** Who really acts, when the actor is impersonated. */
  readonly impersonator?: string
}

/** Who makes a change, why, and in which call: what every mutation hands on to its audit entry. */
export interface Change extends Author {
  readonly reason: string
  readonly call: CallContext
}

/** The author that a verified token names. */
export const authorOf = ({ subject, roles, impersonator }: Principal): Author => ({
  actor: subject,
  ...(roles.size > 0 && { role: [...roles].sort().join(',') }),
  ...(impersonator !== undefined && { impersonator }),
})

/** The author as one text, for rows that hold one: both identities when one acts as the other. */
export const nameOf = ({ actor, impersonator }: Author): string =>
  impersonator === undefined ? actor : `${actor} (${impersonator})`

/** One changed field: a JSON pointer (RFC 6901) into the object; no `before` = added, no `after` = removed. Never secrets. */
export interface DiffEntry {
  readonly path: string
  readonly before?: unknown
  readonly after?: unknown
}

export interface NewAuditEntry extends Change {
  readonly tenantId: string
  /** What was done, `noun.verb` in the past, e.g. `identity.revoked`. */
  readonly action: string
  /** What it was done to, `noun:name`, e.g. `connector:stripe`. */
  readonly object: string
  readonly diff?: readonly DiffEntry[]
}

export interface AuditEntry {
  readonly seq: number
  readonly at: Date
  readonly actor: string
  readonly action: string
  readonly object: string
  readonly reason: string
  readonly diff: readonly DiffEntry[]
  readonly requestId: string | null
  readonly traceId: string | null
  /** Lower-case hex. */
  readonly hash: string
}

/**
 * Writes the entry of a change in the change's own transaction: when this rejects, the change must roll back,
 * so never catch it. Changes of one workspace queue up here until the one before has committed: call
 * it last.
 */
export async function recordAudit(tx: Tx, entry: NewAuditEntry): Promise<void> {
  const { tenantId, call } = entry
  const head = await lockHead(tx, { tenantId, genesis: GENESIS_HASH })
  const row = {
    tenant_id: tenantId,
    seq: head.seq + 1,
    at: head.at,
    // Half a surrogate pair cannot be stored as text and would come back as something else than was hashed.
    actor: entry.actor.toWellFormed(),
    action: entry.action,
    object: entry.object.toWellFormed(),
    reason: entry.reason.toWellFormed(),
    // What JSON cannot hold (undefined, dates) is brought to what will be read back before it is hashed.
    diff: JSON.parse(JSON.stringify(entry.diff ?? [])) as unknown,
    request_id: call.requestId,
    trace_id: call.traceId,
  }
  const hash = entryHash(head.hash, row)
  await appendEntry(tx, { ...row, previous_hash: head.hash, hash })
}

const CHAIN_PAGE = 1_000

export type ChainState =
  | {
      readonly intact: true
      readonly entries: number
      /** Hash of the last entry, lower-case hex. */
      readonly head: string
    }
  | {
      readonly intact: false
      /** Number of the first entry that is missing or not what was written. */
      readonly seq: number
      readonly why: string
    }

/**
 * Makes every hash of a workspace's chain again and compares. Finds edited, deleted, reordered and cut entries.
 * Entries that are written meanwhile are left out: the head is read first.
 */
export async function verifyChain(on: Queryable, tenantId: string): Promise<ChainState> {
  const head = (await findHead(on, { tenantId })) ?? { seq: 0, hash: GENESIS_HASH }
  let seq = 0
  let previous = GENESIS_HASH
  while (seq < head.seq) {
    const limit = Math.min(CHAIN_PAGE, head.seq - seq)
    const rows = await listChain(on, { tenantId, afterSeq: seq, limit })
    if (rows.length === 0) return broken(seq + 1, 'the entry is missing')
    for (const row of rows) {
      seq += 1
      if (row.seq !== seq) return broken(seq, 'the entry is missing')
      if (!row.previous_hash.equals(previous)) return broken(seq, 'it does not follow the entry before it')
      if (!entryHash(previous, row).equals(row.hash))
        return broken(seq, 'its content is not what was written')
      previous = row.hash
    }
  }
  if (!previous.equals(head.hash))
    return broken(head.seq, 'it is not the entry that the head of the chain names')
  // A row past the head was committed meanwhile, unless the head still does not know it.
  const [beyond] = await listChain(on, { tenantId, afterSeq: head.seq, limit: 1 })
  if (beyond && ((await findHead(on, { tenantId }))?.seq ?? 0) < beyond.seq)
    return broken(beyond.seq, 'the head of the chain does not know the entry')
  return { intact: true, entries: seq, head: previous.toString('hex') }
}

const broken = (seq: number, why: string): ChainState => ({ intact: false, seq, why })

export type AuditFilter = EntryFilter

/** Entries of one workspace, newest first. */
export async function listAudit(on: Queryable, filter: AuditFilter): Promise<AuditEntry[]> {
  return (await listEntries(on, filter)).map((row) => ({
    seq: row.seq,
    at: row.at,
    actor: row.actor,
    action: row.action,
    object: row.object,
    reason: row.reason,
    diff: row.diff as readonly DiffEntry[],
    requestId: row.request_id,
    traceId: row.trace_id,
    hash: row.hash.toString('hex'),
  }))
}
