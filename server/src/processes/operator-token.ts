import { userInfo } from 'node:os'
import type { Config } from '../config.ts'
import { PLANE_SCOPES, type Plane } from '../features/identities/identities.ts'
import { NO_WORKSPACE, PLATFORM_ADMIN } from '../features/workspaces/workspaces.ts'
import { issueToken } from '../platform/auth/tokens.ts'
import { systemClock } from '../platform/clock.ts'
import { createLog } from '../platform/log.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { openPlaneKeys, tokenRules } from './plane.ts'

export { openPlaneKeys } from './plane.ts'
export type { Plane }
export const PLANES = Object.keys(PLANE_SCOPES) as Plane[]

export interface OperatorToken {
  readonly plane: Plane
  /** Id of the workspace; absent for a platform admin's token. */
  readonly tenantId?: string | undefined
  /** Absent = all of the plane. */
  readonly scopes?: readonly string[] | undefined
  readonly lifetimeSeconds: number
  readonly subject?: string | undefined
  readonly platformAdmin?: boolean
  /** Instead of those of a platform admin. */
  readonly roles?: readonly string[]
}

/** The account of the operating system; a container's user often has a number only. */
function operatorName(): string {
  try {
    return `operator:${userInfo().username}`
  } catch {
    return `operator:uid-${process.getuid?.() ?? 'unknown'}`
  }
}

/**
 * Signs a token with the keys of `KEYS_DIR`; makes them when this is the first start. Whoever can read that
 * folder can do this, which is why it is 0700.
 */
export async function issueOperatorToken(config: Config, wanted: OperatorToken): Promise<string> {
  const known: readonly string[] = PLANE_SCOPES[wanted.plane]
  const stranger = wanted.scopes?.find((scope) => !known.includes(scope))
  if (stranger !== undefined)
    throw new StartRefused(`The ${wanted.plane} plane has no scope ${stranger}. It has: ${known.join(', ')}.`)
  const keys = await openPlaneKeys(config, wanted.plane, {
    clock: systemClock,
    log: createLog('token', 'warn'),
  })
  try {
    const { token } = await issueToken(
      { keys, rules: tokenRules(config, wanted.plane), clock: systemClock },
      {
        subject: wanted.subject ?? operatorName(),
        tenantId: wanted.tenantId ?? NO_WORKSPACE,
        scopes: wanted.scopes ?? known,
        roles: wanted.roles ?? (wanted.platformAdmin ? [PLATFORM_ADMIN] : []),
        lifetimeSeconds: wanted.lifetimeSeconds,
      },
    )
    return token
  } finally {
    keys.close()
  }
}
