/**
 * The door of the workspaces feature. A workspace is a tenant: its id is `tid` in tokens and `tenant_id` in tables.
 *
 * Invariants. Id, slug and environment never change; the environment is the end of the slug. A hub of one
 * environment does not see the workspaces of the other (DESIGN D5). Creation and every change of status commit
 * together with their audit entry.
 */
import type { Db } from '../../platform/db/db.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import { notify } from '../../platform/db/notifications.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { WORKSPACE_CHANNEL } from './workspace-directory.ts'
import * as sql from './workspaces.sql.ts'

export {
  type AccessState,
  createAuthenticate,
  createReasonToStop,
  PLATFORM_ADMIN,
  type ReasonToStop,
  type StopReason,
} from './authenticate.ts'
export {
  createWorkspaceDirectory,
  type WorkspaceDirectory,
  type WorkspaceEntry,
} from './workspace-directory.ts'

export { lockWorkspace } from './workspaces.sql.ts'

/** The tenant id of what belongs to no workspace, e.g. the platform's audit log; no workspace has it. */
export const NO_WORKSPACE = '00000000-0000-0000-0000-000000000000'

export type Environment = sql.Environment
export type WorkspaceStatus = sql.WorkspaceStatus

export interface Workspace {
  readonly id: string
  readonly slug: string
  readonly name: string
  readonly environment: Environment
  readonly status: WorkspaceStatus
  readonly createdAt: Date
}

/** The database, and which of its workspaces this hub serves. */
export interface WorkspaceDeps {
  readonly db: Db
  readonly environment: Environment
}

export const SLUG_PATTERN = '^[a-z][a-z0-9]*(-[a-z0-9]+)*$'
export const SLUG_MAX_LENGTH = 40

const toWorkspace = ({ created_at, ...row }: sql.WorkspaceRow): Workspace => ({
  ...row,
  createdAt: created_at,
})

const absent = (): Problem => new Problem('not_found', 'There is no such workspace.')

function slugFaults(slug: string, environment: Environment): ProblemDetail[] {
  const message = !new RegExp(SLUG_PATTERN).test(slug)
    ? 'must be lower-case words of letters and digits, joined by single hyphens'
    : slug.length > SLUG_MAX_LENGTH
      ? `must have at most ${SLUG_MAX_LENGTH} characters`
      : !slug.endsWith(`-${environment}`)
        ? `must end in -${environment}: this hub serves only workspaces of that environment`
        : undefined
  return message === undefined ? [] : [{ path: '/body/slug', message }]
}

/** Creates a workspace. Errors: `validation_error` for the slug, `conflict` when it is taken. */
export async function createWorkspace(
  { db, environment }: WorkspaceDeps,
  { slug, name }: { readonly slug: string; readonly name: string },
  change: Change,
): Promise<Workspace> {
  const details = slugFaults(slug, environment)
  if (details[0])
    throw new Problem('validation_error', `${details[0].path} ${details[0].message}.`, { details })
  try {
    return await db.transaction(async (tx) => {
      const row = await sql.insertWorkspace(tx, { id: newId(), slug, name, environment })
      await recordAudit(tx, {
        ...change,
        tenantId: row.id,
        action: 'workspace.created',
        object: `workspace:${slug}`,
        diff: [{ path: '', after: { id: row.id, slug, name, environment } }],
      })
      return toWorkspace(row)
    })
  } catch (error) {
    if (violatesUnique(error, 'workspace_slug_key'))
      throw new Problem('conflict', 'The slug is taken by another workspace.')
    throw error
  }
}

/**
 * Suspends a workspace or lets it go on; every process follows within seconds. Errors: `not_found`,
 * `conflict` when it has that status already.
 */
export async function setWorkspaceStatus(
  { db, environment }: WorkspaceDeps,
  { id, status }: { readonly id: string; readonly status: WorkspaceStatus },
  change: Change,
): Promise<Workspace> {
  return db.transaction(async (tx) => {
    const row = await sql.updateStatus(tx, { id, environment, status })
    if (!row) {
      if (await sql.findById(tx, { id, environment }))
        throw new Problem('conflict', `The workspace is already ${status}.`)
      throw absent()
    }
    await recordAudit(tx, {
      ...change,
      tenantId: id,
      action: status === 'suspended' ? 'workspace.suspended' : 'workspace.resumed',
      object: `workspace:${row.slug}`,
      diff: [{ path: '/status', before: status === 'suspended' ? 'active' : 'suspended', after: status }],
    })
    await notify(tx, { channel: WORKSPACE_CHANNEL, payload: id })
    return toWorkspace(row)
  })
}

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
