import type { Role } from './roles.ts'

/**
 * `read` changes nothing; `act` does; `guarded` is about secrets, identities and people, and is never done while
 * impersonating somebody.
 */
export type Effect = 'read' | 'act' | 'guarded'

export interface Permission {
  /** For people: what it allows. */
  readonly allows: string
  readonly effect: Effect
  /** Scopes of which a machine's token needs one; none = people only. */
  readonly scopes: readonly string[]
  /** Roles of which a person needs one; none = machines only. */
  readonly roles: readonly Role[]
}

const READ = 'orchestrator.control.read'
const WRITE = 'orchestrator.control.write'

const EVERYBODY = ['admin', 'support', 'read_only', 'emergency'] as const
const SUPPORT = ['admin', 'support', 'emergency'] as const
const ADMIN = ['admin', 'emergency'] as const
const PLATFORM = ['platform_admin', 'emergency'] as const
const PLATFORM_READERS = ['platform_admin', 'platform_auditor', 'emergency'] as const

const see = (allows: string, scopes: readonly string[] = [READ]): Permission => ({
  allows,
  effect: 'read',
  scopes,
  roles: EVERYBODY,
})
const operate = (allows: string, scopes: readonly string[] = [WRITE]): Permission => ({
  allows,
  effect: 'act',
  scopes,
  roles: SUPPORT,
})
const configure = (allows: string): Permission => ({ allows, effect: 'act', scopes: [WRITE], roles: ADMIN })
const guard = (allows: string): Permission => ({ allows, effect: 'guarded', scopes: [WRITE], roles: ADMIN })
const product = (allows: string, scope: string): Permission => ({
  allows,
  effect: 'act',
  scopes: [scope],
  roles: [],
})

/**
 * Who may do what: the single source for the guards of the routes, for `docs/permissions.md` and for the buttons of
 * the console. Every route names one of these; a server with a route that does not, does not start.
 */
export const PERMISSIONS = {
  'execute.call': product('Call an operation now.', 'orchestrator.execute'),
  'jobs.submit': product('Submit jobs and cancel one’s own.', 'orchestrator.jobs.write'),
  'jobs.read': see('See jobs and their attempts.', [READ, 'orchestrator.jobs.read']),
  'jobs.cancel': operate('Cancel a job.'),
  'events.read': see('See events and follow them live.', [READ, 'orchestrator.events.read']),
  'executions.read': see('See executions and their outcome.'),
  'executions.settle': operate('Say how an execution with an unknown outcome ended.'),
  'payloads.read': see('See and download large bodies.', [READ, 'orchestrator.jobs.read']),
  'queues.read': see('See queues and their depth.'),
  'queues.control': operate('Pause and resume queues.'),
  'breakers.read': see('See breakers.'),
  'breakers.control': operate('Force a breaker open or closed, and release it.'),
  'dead_letters.read': see('See dead letters and plans for them.'),
  'dead_letters.control': operate('Replay, purge and restore dead letters.'),
  'webhook_inbox.read': see('See received webhooks, compare them, and see plans for them.'),
  'webhook_inbox.retry': operate('Deliver received webhooks once more.'),
  'webhook_inbox.erase': guard('Erase what received webhooks contained.'),
  'quarantine.read': see('See refused webhooks that were addressed to routes of the workspace.'),
  'quarantine.release': operate(
    'Verify refused webhooks again, release what a route takes, and discard them.',
  ),
  'platform_quarantine.read': {
    allows: 'See refused webhooks that belong to no workspace.',
    effect: 'read',
    scopes: [],
    roles: PLATFORM_READERS,
  },
  'quarantine.assign': {
    allows: 'Verify, assign to a workspace and discard refused webhooks that belong to none.',
    effect: 'guarded',
    scopes: [],
    roles: ['platform_admin'],
  },
  'webhook_gaps.read': see('See events that providers list and that never arrived.'),
  'webhook_gaps.control': operate('Check for missing events, pull them in and dismiss them.'),
  'webhook_routes.read': see('See webhook routes.'),
  'webhook_routes.write': configure('Create, change and delete webhook routes.'),
  'configs.read': see('See configs, policies and connectors, and simulate drafts.'),
  'configs.write': configure('Change policies and connectors; store and activate configs.'),
  'connectors.test': operate('Test a connector against its upstream.'),
  'bundles.export': see('Export the workspace as a bundle, without secret values.'),
  'bundles.import': guard('Import a bundle into the workspace.'),
  'secrets.read': {
    allows: 'See names, places and health of secrets, never values.',
    effect: 'guarded',
    scopes: [READ],
    roles: EVERYBODY,
  },
  'secrets.write': guard('Create, rotate and delete secrets.'),
  'identities.read': see('See service identities and trusted issuers.'),
  'identities.write': guard('Create, rotate and revoke service identities; distrust issuers.'),
  'issuers.write': {
    allows:
      'Trust issuers, and change what is trusted of one; never in an emergency, which it would outlive.',
    effect: 'guarded',
    scopes: [WRITE],
    roles: ['admin'],
  },
  'audit.read': see('See, verify and export the audit log of the workspace.'),
  'workspaces.read': {
    allows: 'See the workspace of the token; with a platform role all of them.',
    effect: 'read',
    scopes: [READ],
    roles: [...EVERYBODY, 'platform_admin', 'platform_auditor'],
  },
  'workspaces.manage': {
    allows: 'Create, suspend, resume, limit and delete workspaces.',
    effect: 'guarded',
    scopes: [],
    roles: PLATFORM,
  },
  'workspaces.verify': guard('Run the onboarding checklist on the workspace.'),
  'members.read': {
    allows: 'See who has a role in the workspace.',
    effect: 'read',
    scopes: [],
    roles: EVERYBODY,
  },
  'members.write': {
    allows: 'Invite people, give and take roles.',
    effect: 'guarded',
    scopes: [],
    roles: ADMIN,
  },
  'operators.read': {
    allows: 'See all operators and their sessions.',
    effect: 'read',
    scopes: [],
    roles: PLATFORM_READERS,
  },
  'operators.manage': {
    allows: 'Invite operators, give platform roles, lock accounts and end sessions.',
    effect: 'guarded',
    scopes: [],
    roles: PLATFORM,
  },
  'platform_audit.read': {
    allows: 'See, verify and export the audit log of the platform.',
    effect: 'read',
    scopes: [],
    roles: PLATFORM_READERS,
  },
  'platform_retention.read': {
    allows: 'See what retention would remove now, of all workspaces.',
    effect: 'read',
    scopes: [],
    roles: PLATFORM_READERS,
  },
  'impersonation.start': {
    allows: 'Look at the workspace as one of its members who is not an Admin.',
    effect: 'guarded',
    scopes: [],
    roles: ['admin', 'platform_admin'],
  },
  'impersonation.read': {
    allows: 'See who impersonated whom in the workspace.',
    effect: 'read',
    scopes: [],
    roles: ['admin', 'platform_admin', 'emergency'],
  },
  'break_glass.read': {
    allows: 'See emergency sessions.',
    effect: 'read',
    scopes: [],
    roles: [...PLATFORM_READERS, 'admin'],
  },
  'break_glass.use': {
    allows: 'Enter workspaces and close the session, on the break-glass listener.',
    effect: 'guarded',
    scopes: [],
    roles: ['emergency'],
  },
  'break_glass.inspect': {
    allows: 'See what was done in an emergency session, in all audit logs.',
    effect: 'read',
    scopes: [],
    roles: ['platform_admin', 'platform_auditor'],
  },
  'break_glass.end': {
    allows: 'End an emergency session of somebody else.',
    effect: 'guarded',
    scopes: [],
    roles: ['platform_admin'],
  },
  'break_glass.review': {
    allows: 'Review an emergency session of somebody else.',
    effect: 'guarded',
    scopes: [],
    roles: ['platform_admin', 'platform_auditor'],
  },
  'account.own': {
    allows: 'See and change one’s own account and sessions, and take tokens for one’s workspaces.',
    effect: 'guarded',
    scopes: [],
    roles: ['signed_on'],
  },
} as const satisfies Readonly<Record<string, Permission>>

export type PermissionName = keyof typeof PERMISSIONS
