/**
 * What the two planes with tokens have in common: their signing keys, their verifier, their directory of
 * workspaces. Wiring only.
 */
import type { Config } from '../config.ts'
import { createEndedTokens, LONGEST_TOKEN_SECONDS } from '../features/ended-tokens/ended-tokens.ts'
import { AUDIENCES, PLANE_SCOPES, type Plane } from '../features/identities/identities.ts'
import { authorizationOf } from '../features/permissions/permissions.ts'
import { checkExternalToken, createIssuerDirectory } from '../features/trusted-issuers/trusted-issuers.ts'
import {
  createAuthenticate,
  createReasonToStop,
  createWorkspaceDirectory,
  type ReasonToStop,
  type WorkspaceDirectory,
} from '../features/workspaces/workspaces.ts'
import { type Keys, openKeys } from '../platform/auth/keys.ts'
import type { Principal, VerifyToken } from '../platform/auth/principal.ts'
import { createRemoteKeys } from '../platform/auth/remote-keys.ts'
import { checkByIssuer, checkOwnToken, type TokenRules } from '../platform/auth/tokens.ts'
import { rememberVerified } from '../platform/auth/verified-tokens.ts'
import type { Clock } from '../platform/clock.ts'
import type { Dial } from '../platform/dial/dial.ts'
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

/** Who holds this token of a session; undefined for every other token. */
export type VerifySession = (token: string) => Promise<Principal | undefined>

/** What a plane borrows, and what only some planes have. */
export interface PlaneParts {
  /** Fetches the keys of other issuers. */
  readonly dial: Pick<Dial, 'request'>
  /** Absent = sessions are not known on it. */
  readonly verifySession?: VerifySession
}

/**
 * Opens what a plane needs to know its callers: by a session, by a token of the hub, by a token of an issuer that the
 * workspace trusts. At each request the caller is asked for its certificate, its end and its workspace.
 */
export async function openPlaneAccess(
  config: Config,
  plane: Plane,
  platform: Platform,
  { dial, verifySession }: PlaneParts,
): Promise<PlaneAccess> {
  const { clock, log } = platform
  const rules = tokenRules(config, plane)
  const keys = await openPlaneKeys(config, plane, platform)
  const directory = createDirectory(config, platform)
  const ended = createEndedTokens(platform)
  const state = { directory, ended }
  const issuers = createIssuerDirectory(platform)
  const check = checkByIssuer(
    rules.issuer,
    checkOwnToken({ keys, rules, clock }),
    checkExternalToken({ issuers, keys: createRemoteKeys({ dial, clock, log }), rules, clock }),
  )
  const verifyToken = rememberVerified({ check, clock, log })
  // No token of a session looks like one of ours, so each has one way to be known.
  const verify: VerifyToken = async (token) => (await verifySession?.(token)) ?? verifyToken(token)
  return {
    keys,
    rules,
    directory,
    authenticate: createAuthenticate({ verify, ...state }),
    reasonToStop: createReasonToStop(state),
    authorization: authorizationOf(PLANE_SCOPES[plane]),
    close: () => {
      issuers.close()
      ended.close()
      directory.close()
      keys.close()
    },
  }
}
