/**
 * The audit log: who changed what in a workspace, when and why.
 *
 * Invariants. An entry commits with the change that it tells, or neither does. Entries are never updated, and deleted
 * only from the front, up to a signed checkpoint, when their time is over: the role of the services can only append, by functions that refuse what does not follow the head. The
 * entries of a workspace are numbered 1, 2, 3, … without gap, and each holds the hash of the one before it;
 * `audit_head` holds the last, so that also a cut tail shows. Signed checkpoints, kept in a file as well, show what was
 * rewritten together with its head. What belongs to no workspace is a chain of its own.
 */
import { type TString, Type } from 'typebox'
import type { Principal } from '../../platform/auth/principal.ts'
import type { CallContext } from '../../platform/call-context.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { appendEntry, type EntryFilter, listEntries, listOfActor, lockHead } from './audit.sql.ts'
import { type AuditEntry, type DiffEntry, toEntry } from './audit-entry.ts'
import { entryHash, HASH_VERSION } from './chain.ts'

export type { AuditEntry, DiffEntry } from './audit-entry.ts'
export { type ExportFormat, exportAudit } from './audit-export.ts'
export type { CheckpointKeys } from './checkpoint.ts'
export { checkpointFile, readCheckpoints } from './checkpoint-file.ts'
export { type CheckpointWork, createCheckpointWork } from './checkpoints.ts'
export { pruneAudit } from './prune.ts'
export { type ChainState, type Evidence, type VerifiedChain, verifyAllChains, verifyChain } from './verify.ts'

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

export interface NewAuditEntry extends Change {
  readonly tenantId: string
  /** What was done, `noun.verb` in the past, e.g. `identity.revoked`. */
  readonly action: string
  /** What it was done to, `noun:name`, e.g. `connector:stripe`. */
  readonly object: string
  readonly diff?: readonly DiffEntry[]
}

/**
 * Writes the entry of a change in the change's own transaction: when this rejects, the change must roll back,
 * so never catch it. Changes of one workspace queue up here until the one before has committed: call
 * it last.
 */
export async function recordAudit(tx: Tx, entry: NewAuditEntry): Promise<void> {
  const { tenantId, call } = entry
  const head = await lockHead(tx, { tenantId })
  const row = {
    tenant_id: tenantId,
    seq: head.seq + 1,
    at: head.at,
    // Half a surrogate pair cannot be stored as text and would come back as something else than was hashed.
    actor: entry.actor.toWellFormed(),
    role: entry.role?.toWellFormed() ?? null,
    impersonator: entry.impersonator?.toWellFormed() ?? null,
    action: entry.action,
    object: entry.object.toWellFormed(),
    reason: entry.reason.toWellFormed(),
    // What JSON cannot hold (undefined, dates) is brought to what will be read back before it is hashed, and a `Secret`
    // to `[secret]`.
    diff: JSON.parse(JSON.stringify(entry.diff ?? [])) as unknown,
    ip: call.client?.ip ?? null,
    user_agent: call.client?.userAgent?.toWellFormed() ?? null,
    request_id: call.requestId,
    trace_id: call.traceId,
  }
  const hash = entryHash(head.hash, { ...row, hash_version: HASH_VERSION })
  if (!hash) throw new Error('the hash of new entries has no version')
  await appendEntry(tx, { ...row, previous_hash: head.hash, hash })
}

export type AuditFilter = EntryFilter

/** Entries of one workspace, newest first; only those before `beforeSeq`, absent = from the newest. */
export const listAudit = async (
  on: Queryable,
  filter: AuditFilter & { readonly beforeSeq?: number | undefined; readonly limit: number },
): Promise<AuditEntry[]> => (await listEntries(on, filter)).map(toEntry)

/** An entry, and the chain that it is in: the id of a workspace, or that of no workspace. */
export interface AuditEntryOfChain extends AuditEntry {
  readonly tenantId: string
}

/** What one person did in one role between two times, over all workspaces and the platform, oldest first. */
export const listAuditOfActor = async (
  on: Queryable,
  filter: Parameters<typeof listOfActor>[1],
): Promise<AuditEntryOfChain[]> =>
  (await listOfActor(on, filter)).map((row) => ({ ...toEntry(row), tenantId: row.tenant_id }))
