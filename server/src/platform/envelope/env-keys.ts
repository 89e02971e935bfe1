import type { Secret } from '../secret.ts'
import { EnvelopeFailure, type KeyEncryptionKeys } from './keys.ts'
import { keyBytesOf, localKey, unwrapWith, wrapWith } from './local-key.ts'

/**
 * Key-encryption keys from the environment, base64 of 32 bytes each. Without a current one old values still open
 * with the previous ones, and nothing new is sealed. Errors: RangeError for a text that is not such a key.
 */
export function envKeys(options: {
  readonly current: Secret | undefined
  readonly previous: readonly Secret[]
  /** Names of the variables, for messages. */
  readonly where: string
}): KeyEncryptionKeys {
  const { where } = options
  const parse = (text: Secret) => {
    const bytes = keyBytesOf(text.reveal())
    if (!bytes) throw new RangeError(`${where} must hold base64 of 32 bytes`)
    return localKey(bytes)
  }
  const current = options.current && parse(options.current)
  const keys = new Map(
    [...(current ? [current] : []), ...options.previous.map(parse)].map((key) => [key.id, key]),
  )
  const now = () => {
    if (!current) throw new EnvelopeFailure('key_missing', `There is no key-encryption key (${where}).`)
    return current
  }
  return {
    where,
    current: () => now().id,
    refresh: async () => void now(),
    wrap: async (dataKey, aad) => wrapWith(now(), dataKey, aad),
    unwrap: async (keyId, bytes, aad) => unwrapWith(keys.get(keyId), keyId, where, bytes, aad),
  }
}
