/**
 * Roles that people have. A role of a workspace holds in the workspace of the token; a platform role holds in the
 * whole hub, and by itself shows and changes nothing inside of a workspace. A platform admin can let people into it, in
 * ways that the workspace sees: docs/permissions.md.
 */
export const WORKSPACE_ROLES = {
  admin: 'Everything in the workspace, also its secrets, service identities and members.',
  support: 'Sees everything; repeats, cancels, pauses and settles work; changes no settings.',
  read_only: 'Sees everything, changes nothing.',
} as const
export type WorkspaceRole = keyof typeof WORKSPACE_ROLES

export const PLATFORM_ROLES = {
  platform_admin: 'Creates, suspends and deletes workspaces; invites operators and gives roles.',
  platform_auditor: 'Sees all workspaces, operators and the audit log of the platform; changes nothing.',
  break_glass_admin:
    'May open an emergency session on the break-glass listener; gives nothing anywhere else.',
} as const
export type PlatformRole = keyof typeof PLATFORM_ROLES

/** What a break-glass admin is during an emergency session: only the break-glass listener gives and takes it. */
export const EMERGENCY = 'emergency'
/** What an operator is who has signed on and not chosen a workspace yet: may do what concerns themselves. */
export const SIGNED_ON = 'signed_on'

export type Role = WorkspaceRole | PlatformRole | typeof EMERGENCY | typeof SIGNED_ON
