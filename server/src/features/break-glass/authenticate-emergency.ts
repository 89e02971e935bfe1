import { bearerToken, tokenRefused } from '../../platform/auth/tokens.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Authenticate } from '../../platform/http/access.ts'
import { TOKEN_PREFIX, verifyEmergencyToken } from './break-glass.ts'

/**
 * Tokens of emergency sessions and no others, asked of the database at every request. The workspace may be suspended:
 * that may be the emergency.
 */
export const authenticateEmergency =
  (on: Queryable): Authenticate =>
  async ({ headers }) => {
    const token = bearerToken(headers.authorization)
    const principal = token.startsWith(TOKEN_PREFIX) ? await verifyEmergencyToken(on, token) : undefined
    if (!principal) throw tokenRefused()
    return principal
  }
