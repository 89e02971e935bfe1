/**
 * A checkpoint says under signature what the head of a chain was at a time. The key is not in the database, so whoever
 * rewrites a chain with its head and its checkpoints cannot sign what the new chain would need.
 */
import { webcrypto } from 'node:crypto'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Keys } from '../../platform/auth/keys.ts'
import { canonicalJson } from '../../platform/canonical-json.ts'

export interface Checkpoint {
  readonly tenantId: string
  /** Number of the last entry. */
  readonly seq: number
  /** Its hash. */
  readonly hash: Buffer
  readonly at: Date
  /** RFC 7638 thumbprint of the key. */
  readonly kid: string
  /** Ed25519 (RFC 8032). */
  readonly signature: Buffer
}

/** The keys of checkpoints; those of before stay, because what they signed must be proven for ever. */
export type CheckpointKeys = Pick<Keys, 'signer' | 'publicKey'>

/** First of what is signed, so that the signature can be taken for nothing else. */
const PURPOSE = 'orchestrator audit checkpoint 1\n'

function signedBytes({ tenantId, seq, hash, at, kid }: Omit<Checkpoint, 'signature'>): Buffer {
  const fields = { tenant_id: tenantId, seq, hash: hash.toString('hex'), at: at.toISOString(), kid }
  return Buffer.from(PURPOSE + canonicalJson(fields))
}

/** Signs with the key that signs now. */
export async function signCheckpoint(
  keys: Pick<CheckpointKeys, 'signer'>,
  what: Pick<Checkpoint, 'tenantId' | 'seq' | 'hash' | 'at'>,
): Promise<Checkpoint> {
  const { kid, key } = keys.signer()
  const unsigned = { ...what, kid }
  const signature = Buffer.from(await webcrypto.subtle.sign('Ed25519', key, signedBytes(unsigned)))
  return { ...unsigned, signature }
}

/** What is wrong with the signature; undefined = the hub has signed this. */
export async function signatureFault(
  keys: Pick<CheckpointKeys, 'publicKey'>,
  checkpoint: Checkpoint,
): Promise<string | undefined> {
  const key = await keys.publicKey(checkpoint.kid)
  if (!key) return `the checkpoint names the key ${checkpoint.kid}, which the key file does not have`
  const good = await webcrypto.subtle.verify('Ed25519', key, checkpoint.signature, signedBytes(checkpoint))
  return good ? undefined : 'the checkpoint does not have the signature of the hub'
}

const CheckpointLine = Type.Object({
  tenant_id: Type.String({ pattern: '^[0-9a-f-]{36}$' }),
  seq: Type.Integer({ minimum: 1 }),
  hash: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  at: Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$' }),
  kid: Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
  signature: Type.String({ pattern: '^[A-Za-z0-9_-]{86}$' }),
})

/** One line of JSON, without its end. */
export const formatCheckpoint = ({ tenantId, seq, hash, at, kid, signature }: Checkpoint): string =>
  JSON.stringify({
    tenant_id: tenantId,
    seq,
    hash: hash.toString('hex'),
    at: at.toISOString(),
    kid,
    signature: signature.toString('base64url'),
  })

/** Undefined for a line that is no checkpoint, e.g. one that a power cut has torn. */
export function parseCheckpoint(line: string): Checkpoint | undefined {
  try {
    const parsed: unknown = JSON.parse(line)
    if (!Value.Check(CheckpointLine, parsed) || Number.isNaN(Date.parse(parsed.at))) return undefined
    return {
      tenantId: parsed.tenant_id,
      seq: parsed.seq,
      hash: Buffer.from(parsed.hash, 'hex'),
      at: new Date(parsed.at),
      kid: parsed.kid,
      signature: Buffer.from(parsed.signature, 'base64url'),
    }
  } catch {
    return undefined
  }
}
