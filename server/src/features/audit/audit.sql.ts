import { many, maybeOne, one, run } from '../../platform/db/statement.ts'
import type { HashedEntry } from './chain.ts'

export interface HeadRow {
  readonly seq: number
  readonly hash: Buffer
}

/** Locks the head of a workspace's chain until the transaction ends, making it on the first entry. */
export const lockHead = one<{ readonly tenantId: string }, HeadRow & { at: Date }>(
  'audit.lock_head',
  'select seq, hash, at from audit_lock_head($1)',
  ({ tenantId }) => [tenantId],
)

export interface EntryRow extends HashedEntry {
  readonly previous_hash: Buffer
  readonly hash: Buffer
}

/** Writes the entry and moves the head in one round trip; the function sets the version of the hash itself. */
export const appendEntry = run<Omit<EntryRow, 'hash_version'>>(
  'audit.append',
  'select audit_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)',
  (row) => [
    ...[row.tenant_id, row.seq, row.at, row.actor, row.role, row.impersonator, row.action, row.object],
    ...[row.reason, JSON.stringify(row.diff), row.ip, row.user_agent, row.request_id, row.trace_id],
    ...[row.previous_hash, row.hash],
  ],
)

export const findHead = maybeOne<{ readonly tenantId: string }, HeadRow>(
  'audit.head',
  'select seq, hash from audit_head where tenant_id = $1',
  ({ tenantId }) => [tenantId],
)

/** Where the chain begins since its oldest entries were removed; nothing = at its first entry. */
export const findStart = maybeOne<{ readonly tenantId: string }, HeadRow & { readonly now: Date }>(
  'audit.start',
  'select seq, hash, now() as now from audit_start where tenant_id = $1',
  ({ tenantId }) => [tenantId],
)

/** See the SQL function. */
export const pruneChain = one<
  { readonly tenantId: string; readonly days: number; readonly most: number },
  { readonly gone: number }
>(
  'audit.prune',
  `select audit_prune($1, keep_days($1, 'audit', $2), $3) as gone`,
  ({ tenantId, days, most }) => [tenantId, days, most],
)

/** Entries in the order of the chain, from `afterSeq` (exclusive). */
export const listChain = many<
  { readonly tenantId: string; readonly afterSeq: number; readonly limit: number },
  EntryRow
>(
  'audit.chain',
  'select * from audit_entry where tenant_id = $1 and seq > $2 order by seq limit $3',
  ({ tenantId, afterSeq, limit }) => [tenantId, afterSeq, limit],
)

/** Which entries are asked for; from and to are times, `to` exclusive. */
export interface EntryFilter {
  readonly tenantId: string
  /** Who did it, also as whom somebody else did it. */
  readonly actor?: string | undefined
  readonly action?: string | undefined
  readonly object?: string | undefined
  readonly from?: Date | undefined
  readonly to?: Date | undefined
}

const FITS = `tenant_id = $1
     and ($2::text is null or actor = $2 or impersonator = $2)
     and ($3::text is null or action = $3)
     and ($4::text is null or object = $4)
     and ($5::timestamptz is null or at >= $5)
     and ($6::timestamptz is null or at < $6)`

const fitting = ({ tenantId, actor, action, object, from, to }: EntryFilter) => [
  ...[tenantId, actor ?? null, action ?? null, object ?? null, from ?? null, to ?? null],
]

/** Newest first; only entries before `beforeSeq`, absent = from the newest. */
export const listEntries = many<
  EntryFilter & { readonly beforeSeq?: number | undefined; readonly limit: number },
  EntryRow
>(
  'audit.list',
  `select * from audit_entry
   where ${FITS} and ($7::bigint is null or seq < $7)
   order by seq desc limit $8`,
  (filter) => [...fitting(filter), filter.beforeSeq ?? null, filter.limit],
)

/** Of one person in one role over every chain of the hub, oldest first; `to` is exclusive. */
export const listOfActor = many<
  {
    readonly actor: string
    readonly role: string
    readonly from: Date
    readonly to: Date
    readonly limit: number
  },
  EntryRow
>(
  'audit.of_actor',
  // Chain by chain, so that the index by time serves.
  `select entry.* from audit_head head
   cross join lateral (
     select * from audit_entry
     where tenant_id = head.tenant_id and at >= $3 and at < $4 and actor = $1 and role = $2
     order by at, seq limit $5
   ) entry
   order by entry.at, entry.tenant_id, entry.seq limit $5`,
  ({ actor, role, from, to, limit }) => [actor, role, from, to, limit],
)

/** Oldest first, after `afterSeq`. */
export const listForward = many<
  EntryFilter & { readonly afterSeq: number; readonly limit: number },
  EntryRow
>(
  'audit.list_forward',
  `select * from audit_entry where ${FITS} and seq > $7 order by seq limit $8`,
  (filter) => [...fitting(filter), filter.afterSeq, filter.limit],
)

export interface CheckpointRow {
  readonly tenant_id: string
  readonly seq: number
  readonly hash: Buffer
  readonly at: Date
  readonly kid: string
  readonly signature: Buffer
}

/** A checkpoint of the same entry that is there already stays: it says the same. */
export const insertCheckpoint = run<CheckpointRow>(
  'audit.insert_checkpoint',
  `insert into audit_checkpoint (tenant_id, seq, hash, at, kid, signature) values ($1, $2, $3, $4, $5, $6)
   on conflict do nothing`,
  ({ tenant_id, seq, hash, at, kid, signature }) => [tenant_id, seq, hash, at, kid, signature],
)

export const listCheckpoints = many<{ readonly tenantId: string }, CheckpointRow>(
  'audit.checkpoints',
  'select * from audit_checkpoint where tenant_id = $1 order by seq',
  ({ tenantId }) => [tenantId],
)

export const findLastCheckpoint = maybeOne<{ readonly tenantId: string }, CheckpointRow>(
  'audit.last_checkpoint',
  'select * from audit_checkpoint where tenant_id = $1 order by seq desc limit 1',
  ({ tenantId }) => [tenantId],
)

/**
 * Every chain of the hub that has grown by `entries`, or at all and its last checkpoint is `seconds` old, and each that
 * is shorter than it was.
 */
export const listDueChains = many<
  { readonly entries: number; readonly seconds: number },
  { readonly tenant_id: string }
>(
  'audit.due_chains',
  `select head.tenant_id
   from audit_head head
   left join lateral (
     select seq, at from audit_checkpoint last where last.tenant_id = head.tenant_id order by seq desc limit 1
   ) last on true
   where head.seq < last.seq
      or head.seq > coalesce(last.seq, 0)
         and (last.seq is null or head.seq - last.seq >= $1 or last.at <= clock_timestamp() - make_interval(secs => $2))
   order by head.tenant_id`,
  ({ entries, seconds }) => [entries, seconds],
)

/** Every workspace that has a head, an entry or a checkpoint: what was removed in one place is still named by another. */
export const listChains = many<Record<never, never>, { readonly tenant_id: string }>(
  'audit.chains',
  `select tenant_id from audit_head
   union select tenant_id from audit_checkpoint
   union select tenant_id from audit_entry
   order by tenant_id`,
  () => [],
)
