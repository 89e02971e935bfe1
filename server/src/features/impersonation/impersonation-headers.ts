import type { Authenticate } from '../../platform/http/access.ts'
import { Problem } from '../../problems.ts'
import { refusal } from '../permissions/permissions.ts'
import { type FindMember, impersonationFault } from './whom.ts'

const OPERATOR = 'x-impersonate-operator'
const WRITE = 'x-impersonate-write'
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
/** Every header of this family is looked at: one that is misspelt must not be taken for an ordinary call. */
const PREFIX = 'x-impersonate-'

/**
 * Lets callers act as a member by the header `x-impersonate-operator: <operator id>`, without a token of its own, and
 * change things with `x-impersonate-write: true`. For development: an ordinary request, but for these headers, must
 * never be one of somebody else, so they are refused wherever they are not allowed. The rules are those of the token.
 */
export function withImpersonationHeaders(
  authenticate: Authenticate,
  { allowed, findMember }: { readonly allowed: boolean; readonly findMember: FindMember },
): Authenticate {
  return async (credentials) => {
    const names = Object.keys(credentials.headers).filter((name) => name.startsWith(PREFIX))
    if (names.length === 0) return authenticate(credentials)
    if (!allowed)
      throw new Problem(
        'forbidden',
        'Headers that impersonate somebody are not accepted here. Start an impersonation: POST /impersonation.',
      )
    const unknown = names.find((name) => name !== OPERATOR && name !== WRITE)
    if (unknown !== undefined)
      throw new Problem('forbidden', 'There is no such header that impersonates somebody.')
    const caller = await authenticate(credentials)
    const named = String(credentials.headers[OPERATOR] ?? '')
    const member = UUID.test(named) ? await findMember(caller.tenantId, named.toLowerCase()) : undefined
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
