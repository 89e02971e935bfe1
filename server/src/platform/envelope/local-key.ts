import { createHash, randomBytes } from 'node:crypto'
import { decrypt, encrypt, KEY_BYTES } from './cipher.ts'
import { EnvelopeFailure } from './keys.ts'

/** A key-encryption key that this process holds itself. */
export interface LocalKey {
  readonly id: string
  readonly key: Buffer
}

/** The id says which key it is and nothing else about it: a part of the hash of 32 random bytes. */
export const localKey = (key: Buffer): LocalKey => ({
  id: createHash('sha256').update('orchestrator-kek-id').update(key).digest('hex').slice(0, 16),
  key,
})

export const newLocalKey = (): LocalKey => localKey(randomBytes(KEY_BYTES))

export const wrapWith = ({ id, key }: LocalKey, dataKey: Buffer, aad: Buffer) => ({
  keyId: id,
  bytes: encrypt(key, dataKey, aad),
})

/** Errors: `key_missing`, `not_authentic`. */
export function unwrapWith(
  known: LocalKey | undefined,
  keyId: string,
  where: string,
  bytes: Buffer,
  aad: Buffer,
): Buffer {
  if (!known)
    throw new EnvelopeFailure(
      'key_missing',
      `The key-encryption key ${keyId} is missing (${where}): bring it back.`,
    )
  const dataKey = decrypt(known.key, bytes, aad)
  if (!dataKey || dataKey.length !== KEY_BYTES)
    throw new EnvelopeFailure(
      'not_authentic',
      'The sealed value was changed, or belongs to another place than the one it was found at.',
    )
  return dataKey
}

/** 32 bytes of a base64 or base64url text; undefined for anything else. */
export function keyBytesOf(text: string): Buffer | undefined {
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64')
  return bytes.length === KEY_BYTES ? bytes : undefined
}

/**
 * Whether a person has typed the key, as examples and placeholders are: few different bytes, readable text, or
 * a row of numbers. 32 random bytes are none of it (less than once in 10^14).
 */
export function isExampleKey(bytes: Buffer): boolean {
  const few = new Set(bytes).size < KEY_BYTES / 2
  const readable = bytes.every((byte) => byte >= 0x20 && byte < 0x7f)
  const row = bytes.every((byte, at) => at === 0 || byte === (((bytes[at - 1] ?? 0) + 1) & 0xff))
  return few || readable || row
}
