import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

export interface HeadRow {
  readonly seq: number
  readonly hash: Buffer
}

/**
 * Locks the head of a workspace's chain until the transaction ends, making it on the first entry. The time
 * is taken under the lock, so that times rise with the numbers, and cut to what a JavaScript date can hold,
 * so that the hash can be made again from the stored row.
 */
export const lockHead = one<{ readonly tenantId: string; readonly genesis: Buffer }, HeadRow & { at: Date }>(
  'audit.lock_head',
  `insert into audit_head as head (tenant_id, seq, hash) values ($1, 0, $2)
   on conflict (tenant_id) do update set seq = head.seq
   returning seq, hash, date_trunc('milliseconds', clock_timestamp()) as at`,
  ({ tenantId, genesis }) => [tenantId, genesis],
)

export interface EntryRow {
  readonly tenant_id: string
  readonly seq: number
  readonly at: Date
  readonly actor: string
  readonly action: string
  readonly object: string
  readonly reason: string
  readonly diff: unknown
  readonly request_id: string | null
  readonly trace_id: string | null
  readonly previous_hash: Buffer
  readonly hash: Buffer
}

/** Writes the entry and moves the head in one round trip. */
export const appendEntry = run<EntryRow>(
  'audit.append',
  `with moved as (
     update audit_head set seq = $2, hash = $12 where tenant_id = $1
   )
   insert into audit_entry (tenant_id, seq, at, actor, action, object, reason, diff, request_id, trace_id,
                            previous_hash, hash)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
  (row) => [
    row.tenant_id,
    row.seq,
    row.at,
    row.actor,
    row.action,
    row.object,
    row.reason,
    JSON.stringify(row.diff),
    row.request_id,
    row.trace_id,
    row.previous_hash,
    row.hash,
  ],
)

export const findHead = maybeOne<{ readonly tenantId: string }, HeadRow>(
  'audit.head',
  'select seq, hash from audit_head where tenant_id = $1',
  ({ tenantId }) => [tenantId],
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

export interface EntryFilter {
  readonly tenantId: string
  /** Only entries before this number; absent = from the newest. */
  readonly beforeSeq?: number | undefined
  readonly actor?: string | undefined
  readonly action?: string | undefined
  readonly object?: string | undefined
  readonly limit: number
}

/** Newest first. */
export const listEntries = many<EntryFilter, EntryRow>(
  'audit.list',
  `select * from audit_entry
   where tenant_id = $1
     and ($2::bigint is null or seq < $2)
     and ($3::text is null or actor = $3)
     and ($4::text is null or action = $4)
     and ($5::text is null or object = $5)
   order by seq desc limit $6`,
  ({ tenantId, beforeSeq, actor, action, object, limit }) => [
    tenantId,
    beforeSeq ?? null,
    actor ?? null,
    action ?? null,
    object ?? null,
    limit,
  ],
)
