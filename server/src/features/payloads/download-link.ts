/**
 * Short-lived links to one payload, for stores that have none of their own. Signed by a key of the control plane, but of
 * another type and for another audience than its tokens: a link opens nothing else, and no token is a link.
 */
import { jwtVerify, SignJWT } from 'jose'
import { SIGNING_ALGORITHM } from '../../platform/auth/key-set.ts'
import type { Keys } from '../../platform/auth/keys.ts'
import type { Clock } from '../../platform/clock.ts'

export const LINK_SECONDS = 300
const TYPE = 'payload-link+jwt'
const AUDIENCE = 'orchestrator-payload-link'

export interface LinkDeps {
  readonly keys: Pick<Keys, 'signer' | 'publicKey' | 'accepts'>
  readonly clock: Clock
}

export interface LinkTarget {
  readonly tenantId: string
  readonly id: string
}

export function signLink({ keys, clock }: LinkDeps, { tenantId, id }: LinkTarget): Promise<string> {
  const now = Math.floor(clock.now() / 1_000)
  const { kid, key } = keys.signer()
  return new SignJWT({ tid: tenantId })
    .setProtectedHeader({ alg: SIGNING_ALGORITHM, typ: TYPE, kid })
    .setAudience(AUDIENCE)
    .setSubject(id)
    .setIssuedAt(now)
    .setExpirationTime(now + LINK_SECONDS)
    .sign(key)
}

/** What a link opens; undefined for one that is over, changed, or no link at all. */
export async function openLink({ keys, clock }: LinkDeps, link: string): Promise<LinkTarget | undefined> {
  try {
    const { payload } = await jwtVerify(
      link,
      async ({ kid = '' }) => {
        const key = await keys.publicKey(kid)
        if (!key || !keys.accepts(kid)) throw new Error('no key has this kid')
        return key
      },
      {
        ...{ algorithms: [SIGNING_ALGORITHM], typ: TYPE, audience: AUDIENCE },
        ...{ requiredClaims: ['sub', 'tid', 'iat', 'exp'], maxTokenAge: LINK_SECONDS },
        currentDate: new Date(clock.now()),
      },
    )
    const { tid, sub } = payload
    return typeof tid === 'string' && sub !== undefined ? { tenantId: tid, id: sub } : undefined
  } catch {
    return undefined
  }
}
