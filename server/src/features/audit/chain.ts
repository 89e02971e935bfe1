import { createHash } from 'node:crypto'
import { canonicalJson } from '../../platform/canonical-json.ts'

/** What an entry's hash covers, besides the hash before it: every column but the two hashes. */
export interface HashedEntry {
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
}

/** What the first entry of a chain has before it. */
export const GENESIS_HASH: Buffer = Buffer.alloc(32)

/** The hash of an entry: SHA-256 over the hash before it and the canonical JSON of its row. */
export function entryHash(previous: Buffer, entry: HashedEntry): Buffer {
  const { tenant_id, seq, at, actor, action, object, reason, diff, request_id, trace_id } = entry
  const row = {
    tenant_id,
    seq,
    at: at.toISOString(),
    actor,
    action,
    object,
    reason,
    diff,
    request_id,
    trace_id,
  }
  return createHash('sha256').update(previous).update(canonicalJson(row)).digest()
}
