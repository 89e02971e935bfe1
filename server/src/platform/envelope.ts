/**
 * Envelope encryption: each value is sealed under a random data key of its own, and the data key is wrapped by
 * a key-encryption key. A new key-encryption key rewraps the small data keys and never touches the values.
 *
 * Invariants. What does not open is an error, never an empty value. The context is authenticated in both layers:
 * bytes that are moved to another place, or a data key that is moved to another value, do not open.
 */
import { randomBytes } from 'node:crypto'
import { associatedData, decrypt, encrypt, KEY_BYTES } from './envelope/cipher.ts'
import { EnvelopeFailure, type KeyEncryptionKeys } from './envelope/keys.ts'
import { formatSealed, parseSealed, type Sealed } from './envelope/sealed.ts'
import { Secret } from './secret.ts'

export { EnvelopeFailure, type KeyEncryptionKeys } from './envelope/keys.ts'

export interface Envelope {
  /**
   * Encrypts with AES-256-GCM. `context` says what the value belongs to, e.g. ['secret', tenantId, name, version];
   * it is not stored, and only the same one opens. Errors: `EnvelopeFailure`.
   */
  seal(value: Secret, context: readonly string[]): Promise<Buffer>
  /** Errors: `EnvelopeFailure` for a missing key, a changed byte or another context. */
  open(sealed: Buffer, context: readonly string[]): Promise<Secret>
  /**
   * As `seal`, for bytes that are kept somewhere else than their key: `key` is the wrapped data key, small, and the one
   * part that another key-encryption key changes.
   */
  sealBytes(bytes: Buffer, context: readonly string[]): Promise<SealedBytes>
  /** Errors: as `open`. */
  openBytes(sealed: SealedBytes, context: readonly string[]): Promise<Buffer>
  /** The same value under the current key-encryption key: only the wrapped data key changes. Errors: as `open`. */
  rewrap(sealed: Buffer, context: readonly string[]): Promise<Buffer>
  /** True when another key-encryption key wraps it than the current one, as far as this process knows. */
  needsRewrap(sealed: Buffer): boolean
  /** Id of the key-encryption key that wraps it. */
  keyIdOf(sealed: Buffer): string
  /** Seals and opens a value of its own: that new values can be kept. Errors: `EnvelopeFailure`. */
  check(): Promise<void>
  readonly keys: KeyEncryptionKeys
}

export interface SealedBytes {
  readonly key: Buffer
  readonly bytes: Buffer
}

const NOTHING = Buffer.alloc(0)

/** Opens an envelope on the keys of this process. Reads nothing yet. */
export function openEnvelope({ keys }: { readonly keys: KeyEncryptionKeys }): Envelope {
  const dataKeyOf = async (
    keyId: string,
    wrapped: Buffer,
    encrypted: Buffer,
    context: readonly string[],
  ): Promise<{ dataKey: Buffer; plain: Buffer }> => {
    const dataKey = await keys.unwrap(keyId, wrapped, associatedData('key', context))
    const plain = decrypt(dataKey, encrypted, associatedData('value', context))
    if (!plain) throw notAuthentic()
    return { dataKey, plain }
  }

  const sealParts = async (plain: Buffer, context: readonly string[]): Promise<Sealed> => {
    const dataKey = randomBytes(KEY_BYTES)
    const { keyId, bytes: wrapped } = await keys.wrap(dataKey, associatedData('key', context))
    const encrypted = encrypt(dataKey, plain, associatedData('value', context))
    dataKey.fill(0)
    return { keyId, wrapped, encrypted }
  }

  const envelope: Envelope = {
    keys,
    seal: async (value, context) => formatSealed(await sealParts(Buffer.from(value.reveal()), context)),
    sealBytes: async (plain, context) => {
      const { encrypted, ...key } = await sealParts(plain, context)
      return { key: formatSealed({ ...key, encrypted: NOTHING }), bytes: encrypted }
    },
    openBytes: async ({ key, bytes }, context) => {
      const { keyId, wrapped } = parseSealed(key)
      const { dataKey, plain } = await dataKeyOf(keyId, wrapped, bytes, context)
      dataKey.fill(0)
      return plain
    },
    open: async (sealed, context) => {
      const { keyId, wrapped, encrypted } = parseSealed(sealed)
      const { dataKey, plain } = await dataKeyOf(keyId, wrapped, encrypted, context)
      dataKey.fill(0)
      return new Secret(plain.toString())
    },
    rewrap: async (sealed, context) => {
      const { keyId, wrapped, encrypted } = parseSealed(sealed)
      // Opened and not only unwrapped: a value that is broken already must not look freshly kept.
      const { dataKey } = await dataKeyOf(keyId, wrapped, encrypted, context)
      const again = await keys.wrap(dataKey, associatedData('key', context))
      dataKey.fill(0)
      return formatSealed({ keyId: again.keyId, wrapped: again.bytes, encrypted })
    },
    needsRewrap: (sealed) => parseSealed(sealed).keyId !== keys.current(),
    keyIdOf: (sealed) => parseSealed(sealed).keyId,
    check: async () => {
      const probe = ['probe']
      await envelope.open(await envelope.seal(new Secret('probe'), probe), probe)
    },
  }
  return envelope
}

const notAuthentic = (): EnvelopeFailure =>
  new EnvelopeFailure(
    'not_authentic',
    'The sealed value was changed, or belongs to another place than the one it was found at.',
  )
