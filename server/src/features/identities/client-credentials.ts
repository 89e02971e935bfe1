import { createHash } from 'node:crypto'
import type { Keys } from '../../platform/auth/keys.ts'
import { type IssuedToken, issueToken, type TokenRules } from '../../platform/auth/tokens.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Log } from '../../platform/log.ts'
import { equalInConstantTime, type Secret } from '../../platform/secret.ts'
import { Problem, type ProblemCode } from '../../problems.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { findCredentials, touchIdentity } from './identities.sql.ts'
import { sessionOf } from './identities.ts'
import { PLANE_SCOPES, type Plane } from './scopes.ts'

/** What the token endpoint of one plane needs. */
export interface TokenEndpointDeps {
  readonly db: Db
  readonly directory: WorkspaceDirectory
  readonly keys: Keys
  readonly rules: TokenRules
  readonly lifetimeSeconds: number
  readonly clock: Clock
}

/** The error codes of RFC 6749 §5.2 that this endpoint uses. */
export type OAuthError =
  | 'invalid_request'
  | 'invalid_client'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'invalid_scope'

/** A problem with the members that OAuth clients look for. */
export const oauthProblem = (
  code: ProblemCode,
  error: OAuthError,
  detail: string,
  path?: string,
  cause?: unknown,
): Problem =>
  new Problem(code, detail, {
    ...(path !== undefined && { details: [{ path, message: detail }] }),
    ...(cause !== undefined && { cause }),
    members: { error, error_description: detail },
  })

const invalidClient = (): Problem =>
  oauthProblem('client_credentials_invalid', 'invalid_client', 'The client id or the client secret is wrong.')

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const NOBODY = '00000000-0000-0000-0000-000000000000'
const NO_HASH = Buffer.alloc(32)

export interface ClientCredentials {
  readonly clientId: string
  readonly clientSecret: Secret
  /** Space-separated, may only narrow what the identity has; absent = all of it that this plane knows. */
  readonly scope?: string | undefined
  /** Of the client certificate of the connection; absent = it has none that this hub trusts. */
  readonly certificateSha256?: string | undefined
}

export interface GrantedToken extends IssuedToken {
  readonly scopes: readonly string[]
  readonly lifetimeSeconds: number
}

/**
 * The client credentials grant (RFC 6749 §4.4) on one plane. An unknown client and a wrong secret do the same
 * work and give the same answer. Errors, each with an RFC 6749 `error` member: `client_credentials_invalid`,
 * `workspace_suspended`, `forbidden` when the identity has no scope of this plane, `validation_error` for `scope`.
 */
export async function issueByClientCredentials(
  deps: TokenEndpointDeps,
  plane: Plane,
  { clientId, clientSecret, scope, certificateSha256 }: ClientCredentials,
  log: Pick<Log, 'info' | 'warn'>,
): Promise<GrantedToken> {
  const id = UUID.test(clientId) ? clientId : NOBODY
  const identity = await findCredentials(deps.db, { id })
  const given = createHash('sha256').update(clientSecret.reveal()).digest()
  const present = equalInConstantTime(given, identity?.secret_sha256 ?? NO_HASH)
  const previous = equalInConstantTime(given, identity?.previous_secret_sha256 ?? NO_HASH)
  if (!identity || !(present || previous)) {
    // Nothing of an unknown client is logged: people paste secrets into the wrong field.
    log.warn({ client_id: identity?.id ?? null }, 'client credentials were refused')
    throw invalidClient()
  }

  const workspace = await deps.directory.find(identity.tenant_id)
  if (!workspace) throw invalidClient()
  if (workspace.status !== 'active')
    throw oauthProblem('workspace_suspended', 'unauthorized_client', 'The workspace is suspended.')

  const scopes = grantedScopes(identity.scopes, plane, scope)
  const lifetimeSeconds = Math.min(deps.lifetimeSeconds, identity.seconds_left ?? deps.lifetimeSeconds)
  if (lifetimeSeconds < 1) throw invalidClient()
  const issued = await issueToken(deps, {
    subject: identity.name,
    tenantId: identity.tenant_id,
    scopes,
    lifetimeSeconds,
    sessionId: sessionOf(identity),
    ...(identity.certificate_bound && { certificateSha256: certificateFor(identity, certificateSha256) }),
  })
  await touchIdentity(deps.db, { tenantId: identity.tenant_id, id: identity.id })
  log.info(
    { tenant_id: identity.tenant_id, client_id: identity.id, subject: identity.name, jti: issued.tokenId },
    'a token was issued',
  )
  return { ...issued, scopes, lifetimeSeconds }
}

/** RFC 8705 §3: the token is bound to the certificate of the connection on which it was asked for. */
function certificateFor(
  { certificate_sha256: pinned }: { readonly certificate_sha256: string | null },
  shown: string | undefined,
): string {
  if (shown === undefined)
    throw oauthProblem(
      'client_credentials_invalid',
      'invalid_client',
      'This identity gets tokens only over mutual TLS, with a client certificate that the hub trusts.',
    )
  if (pinned !== null && !equalInConstantTime(shown, pinned))
    throw oauthProblem(
      'client_credentials_invalid',
      'invalid_client',
      'This identity gets tokens only with another client certificate.',
    )
  return shown
}

function grantedScopes(held: readonly string[], plane: Plane, asked: string | undefined): readonly string[] {
  const ofPlane = PLANE_SCOPES[plane].filter((scope) => held.includes(scope))
  if (ofPlane.length === 0)
    throw oauthProblem('forbidden', 'unauthorized_client', `The identity has no scope of the ${plane} plane.`)
  const wanted = new Set(asked?.split(' ').filter((scope) => scope !== ''))
  if (wanted.size === 0) return ofPlane
  const granted = ofPlane.filter((scope) => wanted.has(scope))
  if (granted.length < wanted.size)
    throw oauthProblem(
      'validation_error',
      'invalid_scope',
      `The identity may ask for these scopes of the ${plane} plane: ${ofPlane.join(' ')}.`,
      '/body/scope',
    )
  return granted
}
