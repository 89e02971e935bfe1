import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'

/** The one algorithm of our own keys (RFC 8037). One is enough, and what is not on the list cannot be confused. */
export const SIGNING_ALGORITHM = 'EdDSA'

/** One Ed25519 signing key. Times are milliseconds since the epoch. */
export interface SigningKey {
  /** The RFC 7638 thumbprint of the public part: the same key never has two names. */
  readonly kid: string
  readonly x: string
  /** The private part. */
  readonly d: string
  readonly createdAt: number
  /** Published from `createdAt`, signing from here: by then every process has read it. */
  readonly signsFrom: number
  /** From here on it verifies nothing and is dropped; null while it has no successor. */
  readonly retiresAt: number | null
}

/** All keys of one audience, oldest first. The states of a key in time: published → signing → verifying only → gone. */
export type KeySet = readonly SigningKey[]

export interface RotationRules {
  /** How long a new key is published before it signs: longer than every process needs to notice it. */
  readonly publishDelayMs: number
  /** The longest life of a token, plus the clock skew that verifiers allow. */
  readonly tokenLifeMs: number
}

/** A fresh private key, not yet in any set. */
export async function generateSigningKey(): Promise<Pick<SigningKey, 'kid' | 'x' | 'd'>> {
  const { privateKey } = await generateKeyPair(SIGNING_ALGORITHM, { crv: 'Ed25519', extractable: true })
  const { x, d } = await exportJWK(privateKey)
  if (x === undefined || d === undefined) throw new Error('the generated key is not an Ed25519 key pair')
  return { kid: await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x }), x, d }
}

/** The keys whose tokens are accepted and which the JWKS shows, also those that do not sign yet. */
export const verifyingKeys = <Key extends SigningKey>(keys: readonly Key[], now: number): readonly Key[] =>
  keys.filter(({ retiresAt }) => retiresAt === null || retiresAt > now)

/**
 * The key that signs now: of those whose time has come, the newest. When none has (the clock was set back), the
 * oldest goes on. Undefined only for a set without live keys.
 */
export function signingKey<Key extends SigningKey>(keys: readonly Key[], now: number): Key | undefined {
  const live = verifyingKeys(keys, now).toSorted((left, right) => left.signsFrom - right.signsFrom)
  return live.findLast(({ signsFrom }) => signsFrom <= now) ?? live[0]
}

/**
 * The set with `fresh` as its newest key. It is published at once and signs after the publish delay, or at
 * once when nothing else can sign. The others verify until the last token they can have signed has expired,
 * and those whose time is over are dropped.
 */
export function rotate(
  keys: KeySet,
  fresh: Pick<SigningKey, 'kid' | 'x' | 'd'>,
  now: number,
  { publishDelayMs, tokenLifeMs }: RotationRules,
): KeySet {
  const live = verifyingKeys(keys, now)
  const signsFrom = signingKey(live, now) ? now + publishDelayMs : now
  const retiring = live.map((key) => ({ ...key, retiresAt: key.retiresAt ?? signsFrom + tokenLifeMs }))
  return [...retiring, { ...fresh, createdAt: now, signsFrom, retiresAt: null }]
}

/** A JWK Set (RFC 7517 §5) of public parts only. */
export interface JwksDocument {
  readonly keys: readonly {
    readonly kty: 'OKP'
    readonly crv: 'Ed25519'
    readonly x: string
    readonly kid: string
    readonly alg: typeof SIGNING_ALGORITHM
    readonly use: 'sig'
  }[]
}

/** What `/.well-known/jwks.json` publishes. */
export const jwksDocument = (keys: KeySet, now: number): JwksDocument => ({
  keys: verifyingKeys(keys, now).map(({ kid, x }) => ({
    kty: 'OKP',
    crv: 'Ed25519',
    x,
    kid,
    alg: SIGNING_ALGORITHM,
    use: 'sig',
  })),
})
