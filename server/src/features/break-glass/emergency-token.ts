import { createHash, randomBytes } from 'node:crypto'
import type { Principal } from '../../platform/auth/principal.ts'
import { bearerToken, tokenRefused } from '../../platform/auth/tokens.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Authenticate } from '../../platform/http/access.ts'
import { Secret } from '../../platform/secret.ts'
import { EMERGENCY } from '../permissions/permissions.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { findLiving } from './break-glass.sql.ts'

const PREFIX = 'brk_'

/** 256 random bits: nothing to guess, so a plain hash of it is enough. */
export const newToken = (): Secret => new Secret(`${PREFIX}${randomBytes(32).toString('base64url')}`)

export const sha256 = (token: string): Buffer => createHash('sha256').update(token).digest()

/** From a token of an emergency session to its caller. Undefined for one that is unknown, ended or out of time. */
async function verifyEmergencyToken(on: Queryable, token: string): Promise<Principal | undefined> {
  const row = await findLiving(on, { sha256: sha256(token) })
  if (!row) return undefined
  return {
    subject: row.subject,
    tenantId: row.workspace_id ?? NO_WORKSPACE,
    scopes: new Set(),
    roles: new Set([EMERGENCY]),
    tokenId: row.id,
    sessionId: row.id,
    issuedAt: row.created_at.getTime(),
    expiresAt: row.expires_at.getTime(),
  }
}

/**
 * Tokens of emergency sessions and no others, asked of the database at every request. The workspace may be suspended:
 * that may be the emergency.
 */
export const authenticateEmergency =
  (on: Queryable): Authenticate =>
  async ({ headers }) => {
    const token = bearerToken(headers.authorization)
    const principal = token.startsWith(PREFIX) ? await verifyEmergencyToken(on, token) : undefined
    if (!principal) throw tokenRefused()
    return principal
  }
