import type { PlatformRole, WorkspaceRole } from '../permissions/permissions.ts'

/** A role in a workspace, or on the platform with null. */
export type OperatorRole =
  | { readonly workspaceId: string; readonly role: WorkspaceRole }
  | { readonly workspaceId: null; readonly role: PlatformRole }
