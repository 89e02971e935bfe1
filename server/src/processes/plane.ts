/**
 * What the two planes with tokens have in common: their signing keys, their verifier, their directory of
 * workspaces. Wiring only.
 */
import type { Config } from '../config.ts'
import { createEndedTokens, LONGEST_TOKEN_SECONDS } from '../features/ended-tokens/ended-tokens.ts'
import { AUDIENCES, PLANE_SCOPES, type Plane } from '../features/identities/identities.ts'
import { authorizationOf } from '../features/permissions/permissions.ts'
import {
  createAuthenticate,
  createReasonToStop,
  createWorkspaceDirectory,
  type ReasonToStop,
  type WorkspaceDirectory,
} from '../features/workspaces/workspaces.ts'
import { type Keys, openKeys } from '../platform/auth/keys.ts'
import { createVerifier, type TokenRules } from '../platform/auth/tokens.ts'
import type { Clock } from '../platform/clock.ts'
import type { AccessControl } from '../platform/http/access.ts'
import type { Log } from '../platform/log.ts'
import type { Platform } from '../platform/platform.ts'

export const tokenRules = (config: Config, plane: Plane): TokenRules => ({
  issuer: config.tokenIssuer,
  audience: AUDIENCES[plane],
  maxAgeSeconds: LONGEST_TOKEN_SECONDS,
})

/** The signing keys of one plane: a file of its own, so that a token of one can never verify on the other. */
export const openPlaneKeys = (
  config: Config,
  plane: Plane,
  on: { readonly clock: Clock; readonly log: Log },
): Promise<Keys> =>
  openKeys({ folder: config.keysDir, name: plane, maxTokenAgeSeconds: LONGEST_TOKEN_SECONDS, ...on })

export interface PlaneAccess extends AccessControl {
  readonly keys: Keys
  readonly rules: TokenRules
  readonly directory: WorkspaceDirectory
  /** For what stays open after the request was let in. */
  readonly reasonToStop: ReasonToStop
  close(): void
}

export function createDirectory(config: Config, platform: Platform): WorkspaceDirectory {
  const { db, notifications, log } = platform
  return createWorkspaceDirectory({ db, notifications, log, environment: config.environment })
}

/** Opens what a plane needs to know its callers. */
export async function openPlaneAccess(
  config: Config,
  plane: Plane,
  platform: Platform,
): Promise<PlaneAccess> {
  const { clock, log } = platform
  const rules = tokenRules(config, plane)
  const keys = await openPlaneKeys(config, plane, platform)
  const directory = createDirectory(config, platform)
  const ended = createEndedTokens(platform)
  const state = { directory, ended }
  const verify = createVerifier({ keys, rules, clock, log })
  return {
    keys,
    rules,
    directory,
    authenticate: createAuthenticate({ verify, ...state }),
    reasonToStop: createReasonToStop(state),
    authorization: authorizationOf(PLANE_SCOPES[plane]),
    close: () => {
      ended.close()
      directory.close()
      keys.close()
    },
  }
}
