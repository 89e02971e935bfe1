import { PASSWORD } from '../../server/testing/people.ts'
import type { Task } from '../../server/testing/people-of-a-workspace.ts'
import { REASON, type World } from './world.ts'

const reason = { reason: REASON }
const PAGE = { query: { limit: '10' } }

/** Good requests about people. Those with a session have it as their own `authorization`. */
export const peopleRequests = ({ people, slug, tenantId, workspaceAdmin, oidcReturn }: World) => {
  const { of, invitations, otherSession, mfaTicket, oidc, impersonationId, emergencyId, livingEmergencyId } =
    people
  const as = (task: Task) => ({ authorization: of[task].bearer })
  const id = (task: Task) => ({ params: { id: of[task].operator.id } })
  const ofWorkspace = { authorization: workspaceAdmin }
  const ofTheHub = { ofTheHub: true }
  return {
    logIn: { body: { email: of.logIn.operator.email, password: PASSWORD } },
    showSecondFactor: { body: { ticket: mfaTicket, code: of.showSecondFactor.recoveryCode } },
    acceptInvitation: { body: { token: invitations.accept.token, name: 'Somebody New', password: PASSWORD } },
    startOidc: { changes: true },
    finishOidc: { query: oidcReturn },
    exchangeOidc: { body: oidc },
    getSession: { ...as('present'), query: { workspace_id: tenantId } },
    chooseWorkspace: { ...as('present'), body: { workspace_id: tenantId } },
    listOwnSessions: as('present'),
    endOwnSession: { ...as('present'), params: { id: otherSession } },
    logOut: as('logOut'),
    endOwnSessions: as('endOwnSessions'),
    acceptInvitationSignedOn: {
      ...as('acceptInvitationSignedOn'),
      body: { token: invitations.signedOn.token },
    },
    changePassword: {
      ...as('changePassword'),
      body: { current_password: PASSWORD, new_password: 'four plain words here' },
    },
    enrolSecondFactor: { ...as('enrolSecondFactor'), body: { code: of.enrolSecondFactor.recoveryCode } },
    confirmSecondFactor: { ...as('confirmSecondFactor'), body: { code: of.confirmSecondFactor.code() } },
    removeSecondFactor: { ...as('removeSecondFactor'), body: { code: of.removeSecondFactor.recoveryCode } },
    renewRecoveryCodes: { ...as('renewRecoveryCodes'), body: { code: of.renewRecoveryCodes.code() } },
    listMembers: { ...ofWorkspace, ...PAGE },
    getMember: { ...ofWorkspace, ...id('member') },
    // Before the role that it needs is another one.
    stopImpersonation: { ...ofWorkspace, params: { id: impersonationId }, body: reason },
    setMemberRole: { ...ofWorkspace, ...id('setMemberRole'), body: { role: 'read_only', ...reason } },
    removeMember: { ...ofWorkspace, ...id('removeMember'), query: reason },
    inviteMember: {
      ...ofWorkspace,
      body: { email: `fresh@${slug}.example.com`, role: 'support', hours: 2, ...reason },
    },
    listInvitations: { ...ofWorkspace, ...PAGE },
    resendInvitation: {
      ...ofWorkspace,
      params: { id: invitations.resend.id },
      body: { hours: 2, ...reason },
    },
    revokeInvitation: { ...ofWorkspace, params: { id: invitations.revoke.id }, query: reason },
    startImpersonation: {
      ...ofWorkspace,
      body: { operator_id: of.member.operator.id, minutes: 5, write: false, ...reason },
    },
    listImpersonations: { ...ofWorkspace, ...PAGE },
    listEmergencySessions: { ...ofTheHub, query: { ...PAGE.query, reviewed: 'false' } },
    getEmergencySession: { params: { id: emergencyId } },
    endEmergencySession: { params: { id: livingEmergencyId }, body: reason },
    reviewEmergencySession: { params: { id: emergencyId }, body: { review: 'It was right.', ...reason } },
    listOperators: { ...ofTheHub, ...PAGE },
    getOperator: { ...ofTheHub, ...id('member') },
    lockOperator: { ...id('lockOperator'), body: reason },
    unlockOperator: { ...id('lockOperator'), body: reason },
    resetSecondFactor: { ...id('resetSecondFactor'), body: reason },
    endSessionsOfOperator: { ...id('member'), body: reason },
    setPlatformRoles: { ...id('setPlatformRoles'), body: { roles: ['platform_auditor'], ...reason } },
    inviteOperator: {
      body: { email: `boss@${slug}.example.com`, role: 'admin', workspace_id: tenantId, hours: 2, ...reason },
    },
    listAllInvitations: { ...ofTheHub, ...PAGE },
    resendAnyInvitation: { params: { id: invitations.resendAny.id }, body: { hours: 2, ...reason } },
    revokeAnyInvitation: { params: { id: invitations.revokeAny.id }, query: reason },
  }
}
