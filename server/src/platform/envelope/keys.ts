/** What went wrong; the sentence names keys by their ids only and may be shown to operators. */
export type EnvelopeCause =
  /** The key-encryption key is not there: bring it back. */
  | 'key_missing'
  /** The service that holds it does not answer. */
  | 'key_unavailable'
  /** The bytes were changed, or belong to another context. */
  | 'not_authentic'

/** A value that cannot be sealed or opened. */
export class EnvelopeFailure extends Error {
  override readonly name = 'EnvelopeFailure'
  readonly reason: EnvelopeCause

  constructor(reason: EnvelopeCause, message: string, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }
}

/** The port to whatever holds the key-encryption keys: a file, the environment, a key management service. */
export interface KeyEncryptionKeys {
  /** For people: where the keys are. */
  readonly where: string
  /** Id of the key that wraps now, as far as this process knows. Errors: `key_missing`. */
  current(): string
  /** Looks again which key is the current one. Errors: `key_missing`, `key_unavailable`. */
  refresh(): Promise<void>
  /** Encrypts a data key under the current key. Errors: `key_missing`, `key_unavailable`. */
  wrap(dataKey: Buffer, aad: Buffer): Promise<{ readonly keyId: string; readonly bytes: Buffer }>
  /** Errors: `key_missing`, `key_unavailable`, `not_authentic`. */
  unwrap(keyId: string, bytes: Buffer, aad: Buffer): Promise<Buffer>
}
