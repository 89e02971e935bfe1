import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import * as sql from './workspaces.sql.ts'

export type Environment = sql.Environment
export type WorkspaceStatus = sql.WorkspaceStatus

/** Why a workspace has its status. */
export interface StatusChange {
  readonly reason: string
  /** Who did it, for people. */
  readonly by: string
  readonly since: Date
}

export interface Workspace {
  readonly id: string
  readonly slug: string
  readonly name: string
  readonly environment: Environment
  readonly status: WorkspaceStatus
  readonly createdAt: Date
  /** What it was made from; null = nothing. */
  readonly template: string | null
  /** Null = it has the status that it was made with. */
  readonly statusChange: StatusChange | null
  /** Of one that is deleted or going to be. */
  readonly deleteAfter: Date | null
}

/** The database, and which of its workspaces this hub serves. */
export interface WorkspaceDeps {
  readonly db: Db
  readonly environment: Environment
}

export const toWorkspace = (row: sql.WorkspaceRow): Workspace => ({
  id: row.id,
  slug: row.slug,
  name: row.name,
  environment: row.environment,
  status: row.status,
  createdAt: row.created_at,
  template: row.template,
  statusChange:
    row.status_at === null
      ? null
      : { reason: row.status_reason ?? '', by: row.status_by ?? '', since: row.status_at },
  deleteAfter: row.delete_after,
})

export const absent = (): Problem => new Problem('not_found', 'There is no such workspace.')

/** A workspace of this hub's environment. Errors: `not_found`. */
export async function getWorkspace(
  { db, environment }: { readonly db: Queryable; readonly environment: Environment },
  id: string,
): Promise<Workspace> {
  const row = await sql.findById(db, { id, environment })
  if (!row) throw absent()
  return toWorkspace(row)
}

/** Workspaces, newest first; `onlyId` limits the list to one of them. */
export async function listWorkspaces(on: Queryable, filter: sql.WorkspaceFilter): Promise<Workspace[]> {
  return (await sql.listRows(on, filter)).map(toWorkspace)
}

/** One line of an export: `part` says what of. */
export interface ExportLine {
  readonly part: string
  readonly [field: string]: unknown
}

/** What the other features know of a workspace, line by line; the process hands it in. No secrets. */
export type ExportLines = (tenantId: string) => AsyncIterable<ExportLine>
