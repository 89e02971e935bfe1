/**
 * The door of the workspaces feature. A workspace is a tenant: its id is `tid` in tokens and `tenant_id` in tables.
 *
 * Invariants. Id, slug and environment never change; the environment is the end of the slug. A hub of one
 * environment does not see the workspaces of the other (DESIGN D5). Creation and every change of status commit
 * together with their audit entry. States: active ⇄ suspended; both → deleting → back within the grace, or deleted.
 * Nothing is removed before its time by the clock of the database, and of a deleted workspace the slug and the audit
 * log stay.
 */

export { NO_WORKSPACE } from '../permissions/permissions.ts'
export {
  type AccessState,
  createAuthenticate,
  createReasonToStop,
  PLATFORM_ADMIN,
  type ReasonToStop,
  type StopReason,
} from './authenticate.ts'
export { type Backlog, createBacklog } from './backlog.ts'
export { createWorkspace, type FirstConfig, type NewWorkspace } from './create-workspace.ts'
export { SLUG_MAX_LENGTH, SLUG_PATTERN } from './naming.ts'
export { DEFAULT_QUOTAS, QUOTA_MAXIMA, QUOTAS, type Quota, type Quotas } from './quota-limits.ts'
export { type QuotaUse, quotaFault, quotasOf, type Room, requireRoom, setQuotas } from './quotas.ts'
export { requireSeen, seesAll } from './seen-workspaces.ts'
export {
  standardTemplate,
  TEMPLATES,
  templateOf,
  templatesFor,
  type WorkspaceTemplate,
} from './templates.ts'
export {
  type Environment,
  type ExportLine,
  type ExportLines,
  getWorkspace,
  listWorkspaces,
  type Workspace,
  type WorkspaceDeps,
  type WorkspaceStatus,
} from './workspace.ts'
export {
  createWorkspaceDirectory,
  type WorkspaceDirectory,
  type WorkspaceEntry,
  workspaceStopped,
} from './workspace-directory.ts'
export { deleteWorkspace, restoreWorkspace, setWorkspaceStatus } from './workspace-status.ts'
export { lockWorkspace } from './workspaces.sql.ts'
