import { type CryptoKey, importJWK } from 'jose'

/** The algorithms of tokens that are not ours. RSA is left out: nobody who can choose needs it. */
export const FOREIGN_ALGORITHMS = ['EdDSA', 'ES256'] as const
export type ForeignAlgorithm = (typeof FOREIGN_ALGORITHMS)[number]

export interface PublicKey {
  readonly kid: string
  readonly algorithm: ForeignAlgorithm
  readonly key: CryptoKey
  /** The same for the same key, whenever it was read. */
  readonly fingerprint: string
}

const MAX_KEYS = 50
const MAX_KID_LENGTH = 200
const COORDINATE = /^[A-Za-z0-9_-]{43}$/
/** Members of private and of symmetric keys (RFC 7518 §6). */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']

/**
 * The usable keys of a JWK Set (RFC 7517): Ed25519 and P-256, for signatures, with a key id that no other key of the
 * set has. Errors: not a JWK Set, too many keys, or one that holds a private or a symmetric key: then everybody who
 * can read it could sign, so none of it is trusted.
 */
export async function parsePublicJwks(text: string): Promise<ReadonlyMap<string, PublicKey>> {
  const parsed: unknown = JSON.parse(text)
  const listed = isObject(parsed) ? parsed.keys : undefined
  if (!Array.isArray(listed) || !listed.every(isObject)) throw new Error('the document is not a JWK Set')
  if (listed.length > MAX_KEYS) throw new Error(`the JWK Set has more than ${MAX_KEYS} keys`)
  if (listed.some((jwk) => jwk.kty === 'oct' || SECRET_MEMBERS.some((member) => member in jwk)))
    throw new Error('the JWK Set holds a private or a symmetric key')
  const keys = new Map<string, PublicKey>()
  const repeated = new Set<string>()
  for (const jwk of listed) {
    if (typeof jwk.kid !== 'string') continue
    if (keys.has(jwk.kid)) repeated.add(jwk.kid)
    const key = await usableKey(jwk, jwk.kid)
    if (key) keys.set(jwk.kid, key)
  }
  for (const kid of repeated) keys.delete(kid)
  return keys
}

async function usableKey(jwk: Record<string, unknown>, kid: string): Promise<PublicKey | undefined> {
  const { kty, crv, alg, use, key_ops, x, y } = jwk
  const algorithm =
    kty === 'OKP' && crv === 'Ed25519' ? 'EdDSA' : kty === 'EC' && crv === 'P-256' ? 'ES256' : undefined
  if (algorithm === undefined || kid === '' || kid.length > MAX_KID_LENGTH) return undefined
  if ((alg !== undefined && alg !== algorithm) || (use !== undefined && use !== 'sig')) return undefined
  if (key_ops !== undefined && !(Array.isArray(key_ops) && key_ops.includes('verify'))) return undefined
  if (typeof x !== 'string' || !COORDINATE.test(x)) return undefined
  if (algorithm === 'ES256' && (typeof y !== 'string' || !COORDINATE.test(y))) return undefined
  const plain = { kty: String(kty), crv: String(crv), x, ...(algorithm === 'ES256' && { y: String(y) }) }
  try {
    const key = (await importJWK(plain, algorithm)) as CryptoKey
    return { kid, algorithm, key, fingerprint: JSON.stringify(plain) }
  } catch {
    // A point that is not on the curve: as good as no key.
    return undefined
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
