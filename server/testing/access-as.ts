import { PLANE_SCOPES, type Plane } from '../src/features/identities/identities.ts'
import { authorizationOf } from '../src/features/permissions/permissions.ts'
import type { Principal } from '../src/platform/auth/principal.ts'
import type { AccessControl } from '../src/platform/http/access.ts'

/**
 * The real permissions with a caller that the test makes up from the `Authorization` header: for tests of routes, when
 * tokens are not what they are about.
 */
export const accessAs = (
  principalOf: (header: string | undefined) => Promise<Caller> | Caller,
  plane: Plane = 'control',
): AccessControl => ({
  authenticate: async ({ headers }) => ({
    subject: 'svc:test',
    scopes: new Set(),
    roles: new Set(),
    tokenId: 't',
    issuedAt: Date.now(),
    expiresAt: Number.MAX_SAFE_INTEGER,
    ...(await principalOf(headers.authorization)),
  }),
  authorization: authorizationOf(PLANE_SCOPES[plane]),
})

type Caller = Partial<Principal> & Pick<Principal, 'tenantId'>
