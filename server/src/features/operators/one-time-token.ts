import { createHash, randomBytes } from 'node:crypto'
import { Secret } from '../../platform/secret.ts'

/** Prefixes say what was pasted where it does not belong, and let scanners find it. */
export type TokenPrefix = 'ses_' | 'mfa_' | 'inv_' | 'sso_' | 'sst_'

/** 256 random bits: nothing to guess, so a plain hash of it is enough to keep. */
export function newOneTimeToken(prefix: TokenPrefix): { readonly token: Secret; readonly sha256: Buffer } {
  const text = `${prefix}${randomBytes(32).toString('base64url')}`
  return { token: new Secret(text), sha256: sha256(text) }
}

export const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest()
