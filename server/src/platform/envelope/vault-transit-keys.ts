import { member, type Vault, VaultFailure } from '../vault.ts'
import { EnvelopeFailure, type KeyEncryptionKeys } from './keys.ts'

const VERSIONED = /^vault:v(\d+):/

/**
 * A key-encryption key that never leaves Vault: its transit engine wraps the data keys. It must be of an AEAD type
 * (`aes256-gcm96`, the default), since the context is authenticated there, too. Rotated in Vault.
 */
export function vaultTransitKeys(options: {
  readonly vault: Vault | undefined
  readonly mount: string
  readonly key: string
}): KeyEncryptionKeys {
  const { mount, key } = options
  const where = `the transit key ${mount}/${key} in Vault`
  const family = `transit:${mount}/${key}:v`
  let newest: string | undefined

  const call = async (verb: 'encrypt' | 'decrypt', body: object) => {
    if (!options.vault)
      throw new EnvelopeFailure('key_missing', `There is no way to ${where}: VAULT_ADDR is not set.`)
    try {
      return await options.vault.request('POST', `${mount}/${verb}/${key}`, body)
    } catch (error) {
      if (!(error instanceof VaultFailure)) throw error
      throw new EnvelopeFailure('key_unavailable', `${error.message} (${where}).`, { cause: error })
    }
  }

  const wrap: KeyEncryptionKeys['wrap'] = async (dataKey, aad) => {
    const { status, body } = await call('encrypt', {
      plaintext: dataKey.toString('base64'),
      associated_data: aad.toString('base64'),
    })
    const { ciphertext } = member(body, 'data')
    const version = typeof ciphertext === 'string' ? VERSIONED.exec(ciphertext)?.[1] : undefined
    if (status !== 200 || typeof ciphertext !== 'string' || version === undefined)
      throw new EnvelopeFailure('key_missing', `Vault does not encrypt (HTTP ${status}, ${where}).`)
    newest = `${family}${version}`
    return { keyId: newest, bytes: Buffer.from(ciphertext) }
  }

  return {
    where,
    current: () => {
      if (newest === undefined)
        throw new EnvelopeFailure('key_unavailable', `Nothing was wrapped yet (${where}).`)
      return newest
    },
    // Its right to encrypt is enough: the answer says which version of the key did.
    refresh: async () => void (await wrap(Buffer.alloc(32), Buffer.from('refresh'))),
    wrap,
    unwrap: async (keyId, bytes, aad) => {
      if (!keyId.startsWith(family))
        throw new EnvelopeFailure('key_missing', `The key-encryption key ${keyId} is missing (${where}).`)
      const { status, body } = await call('decrypt', {
        ciphertext: bytes.toString(),
        associated_data: aad.toString('base64'),
      })
      const { plaintext } = member(body, 'data')
      if (status === 200 && typeof plaintext === 'string') return Buffer.from(plaintext, 'base64')
      const tooOld = status === 400 && /disallowed|too old/i.test(JSON.stringify(body))
      if (status === 404 || tooOld)
        throw new EnvelopeFailure('key_missing', `Vault has no such key (${keyId}, ${where}).`)
      throw new EnvelopeFailure('not_authentic', `Vault does not decrypt the data key (HTTP ${status}).`)
    },
  }
}
