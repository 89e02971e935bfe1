/** What people do and what is done to them, for features that must hear of it. Their routes have tests of their own. */
import { lockOperator } from '../src/features/operators/administer.ts'
import { endOwnSessions } from '../src/features/operators/own-account.ts'
import { removeMember, setMemberRole } from '../src/features/operators/roles.ts'
import { beginSession, type Session } from '../src/features/operators/sessions.ts'
import { issueWorkspaceToken } from '../src/features/operators/workspace-token.ts'
import type { PlatformRole, WorkspaceRole } from '../src/features/permissions/permissions.ts'
import type { PeopleHub, Person } from './people.ts'
import { CHANGE } from './tenant-access.ts'

const client = { ip: '127.0.0.1', userAgent: null }

export const peopleAtWork = ({ db, clock, deps, access }: PeopleHub) => ({
  /** Signs on with a second factor. With `groupRole` as the identity provider does it for who is in such a group. */
  signOn: async ({ operator }: Person, groupRole?: PlatformRole): Promise<Session> => {
    const groupRoles = groupRole === undefined ? [] : [{ workspaceId: null, role: groupRole } as const]
    const proof = { operator, method: 'oidc', mfa: true, groupRoles, client } as const
    return (await beginSession(db, clock, proof)).session
  },
  /** The token of a workspace, from a session. */
  choose: async (session: Session, workspaceId: string): Promise<string> =>
    (await issueWorkspaceToken({ ...access, db, clock }, session, workspaceId)).token,
  signOut: (session: Session) => endOwnSessions(deps, { session, client, call: CHANGE.call }, session.id),
  setRole: ({ operator }: Person, workspaceId: string, role: WorkspaceRole) =>
    setMemberRole({ db, clock }, { workspaceId, operatorId: operator.id, role }, CHANGE),
  remove: ({ operator }: Person, workspaceId: string) =>
    removeMember({ db, clock }, { workspaceId, operatorId: operator.id }, CHANGE),
  lock: ({ operator }: Person) => lockOperator({ db, clock }, operator.id, CHANGE),
})
