import { createHash } from 'node:crypto'
import { canonicalJson } from '../../platform/canonical-json.ts'

/** What an entry's hash covers, besides the hash before it: every column but the two hashes. */
export interface HashedEntry {
  readonly tenant_id: string
  readonly seq: number
  readonly at: Date
  /** 1: entries from before there were roles and clients; their hash covers neither, and they have none. */
  readonly hash_version: number
  readonly actor: string
  readonly role: string | null
  readonly impersonator: string | null
  readonly action: string
  readonly object: string
  readonly reason: string
  readonly diff: unknown
  readonly ip: string | null
  readonly user_agent: string | null
  readonly request_id: string | null
  readonly trace_id: string | null
}

/** The version of the hash of new entries. */
export const HASH_VERSION = 2

/** What the first entry of a chain has before it. */
export const GENESIS_HASH: Buffer = Buffer.alloc(32)

const nothing = ({ role, impersonator, ip, user_agent }: HashedEntry): boolean =>
  [role, impersonator, ip, user_agent].every((value) => value === null)

/**
 * The hash of an entry: SHA-256 over the hash before it and the canonical JSON of its row. Undefined for an entry that
 * nobody can have written: of an unknown version, or of the first with values that its hash would not cover.
 */
export function entryHash(previous: Buffer, entry: HashedEntry): Buffer | undefined {
  const { tenant_id, seq, actor, action, object, reason, diff, request_id, trace_id } = entry
  const { hash_version, role, impersonator, ip, user_agent } = entry
  const first = {
    ...{ tenant_id, seq, at: entry.at.toISOString(), actor, action, object, reason, diff },
    ...{ request_id, trace_id },
  }
  if (hash_version === 1) return nothing(entry) ? digest(previous, first) : undefined
  if (hash_version !== HASH_VERSION) return undefined
  return digest(previous, { ...first, hash_version, role, impersonator, ip, user_agent })
}

const digest = (previous: Buffer, row: unknown): Buffer =>
  createHash('sha256').update(previous).update(canonicalJson(row)).digest()
