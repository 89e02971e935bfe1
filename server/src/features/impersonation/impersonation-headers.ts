import type { Queryable } from '../../platform/db/statement.ts'
import type { Authenticate, Credentials } from '../../platform/http/access.ts'
import { Problem } from '../../problems.ts'
import { refusal } from '../permissions/permissions.ts'
import { type FindMember, impersonationFault } from './whom.ts'

const OPERATOR = 'x-impersonate-operator'
const WRITE = 'x-impersonate-write'
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
/** Every header of this family is looked at: one that is misspelt must not be taken for an ordinary call. */
const PREFIX = 'x-impersonate-'

const namesIn = ({ headers }: Pick<Credentials, 'headers'>): string[] =>
  Object.keys(headers).filter((name) => name.startsWith(PREFIX))

/** For every listener where these headers are not allowed: whoever sends one must not take the call for somebody else's. */
export function withoutImpersonationHeaders(authenticate: Authenticate): Authenticate {
  return async (credentials) => {
    if (namesIn(credentials).length > 0)
      throw new Problem(
        'forbidden',
        'Headers that impersonate somebody are not accepted here. Start an impersonation: POST /impersonation.',
      )
    return authenticate(credentials)
  }
}

/**
 * Lets callers act as a member by the header `x-impersonate-operator: <operator id>`, without a token of its own, and
 * change things with `x-impersonate-write: true`. For development: an ordinary request, but for these headers, must
 * never be one of somebody else, so other listeners refuse them (`withoutImpersonationHeaders`). The rules are those of the token.
 */
export function withImpersonationHeaders(
  authenticate: Authenticate,
  { db, findMember }: { readonly db: Queryable; readonly findMember: FindMember },
): Authenticate {
  return async (credentials) => {
    const names = namesIn(credentials)
    if (names.length === 0) return authenticate(credentials)
    const unknown = names.find((name) => name !== OPERATOR && name !== WRITE)
    if (unknown !== undefined)
      throw new Problem('forbidden', 'There is no such header that impersonates somebody.')
    const caller = await authenticate(credentials)
    const named = String(credentials.headers[OPERATOR] ?? '')
    const member = UUID.test(named) ? await findMember(db, caller.tenantId, named.toLowerCase()) : undefined
    if (!member) throw new Problem('forbidden', `${OPERATOR} names no member of this workspace.`)
    const fault = refusal(caller, 'impersonation.start') ?? impersonationFault(caller, member)
    if (fault !== undefined) throw new Problem('forbidden', fault)
    return {
      ...caller,
      subject: member.subject,
      impersonator: caller.subject,
      scopes: new Set(),
      roles: new Set(member.roles),
      readOnly: credentials.headers[WRITE] !== 'true',
    }
  }
}
