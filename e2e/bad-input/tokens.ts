/** Everything that can be wrong with the token of a request. */
import { PLANE_SCOPES } from '../../server/src/features/identities/identities.ts'
import { newId } from '../../server/src/platform/ids.ts'
import type { Plane } from '../../server/src/processes/operator-token.ts'
import type { BadInputHub } from './hub.ts'
import type { World } from './world.ts'

export interface BadToken {
  readonly name: string
  /** The value of the header; undefined = no header. */
  readonly authorization: string | undefined
}

const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A token of ours with another workspace in its claims: the signature stays what it was. */
function tampered(authorization: string, tenantId: string): string {
  const [header, claims = '', signature] = authorization.slice('Bearer '.length).split('.')
  const changed = { ...JSON.parse(Buffer.from(claims, 'base64url').toString('utf8')), tid: tenantId }
  return `Bearer ${header}.${base64url(changed)}.${signature}`
}

/** A token of ours without a signature. */
function unsigned(authorization: string): string {
  const [, claims] = authorization.slice('Bearer '.length).split('.')
  return `Bearer ${base64url({ alg: 'none', typ: 'at+jwt' })}.${claims}.`
}

/** Tokens that no route of the plane may take. */
export async function badTokens(
  hub: BadInputHub,
  plane: Plane,
  world: World,
  stranger: World,
): Promise<BadToken[]> {
  const good = world.tokens[plane]
  const other = plane === 'exec' ? 'control' : 'exec'
  const tokens: Record<string, string | undefined> = {
    'no token': undefined,
    'an empty header': '',
    'no token after Bearer': 'Bearer ',
    garbage: 'Bearer garbage',
    'three garbage parts': 'Bearer YQ.YQ.YQ',
    'HTTP Basic': `Basic ${Buffer.from('user:password').toString('base64')}`,
    'the token without Bearer': good.slice('Bearer '.length),
    'two tokens': `${good}, ${good}`,
    'a cut token': good.slice(0, -4),
    'another workspace in the claims': tampered(good, stranger.tenantId),
    'alg none': unsigned(good),
    'a very long token': `Bearer ${'a'.repeat(9_000)}.a.a`,
    'a token of the other plane': world.tokens[other],
    'an expired token': await hub.expiredToken(plane, world.tenantId, PLANE_SCOPES[plane]),
    'a token of no workspace': await hub.token({ plane, tenantId: newId() }),
  }
  return Object.entries(tokens).map(([name, authorization]) => ({ name, authorization }))
}

/** A token of the plane with every scope but one. */
export const tokenWithout = (hub: BadInputHub, plane: Plane, world: World, scope: string): Promise<string> =>
  hub.token({
    plane,
    tenantId: world.tenantId,
    scopes: PLANE_SCOPES[plane].filter((one) => one !== scope),
  })
