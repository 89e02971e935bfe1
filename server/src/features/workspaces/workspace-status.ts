import { notify } from '../../platform/db/notifications.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { freeLanes } from '../../queue/lane-policy.ts'
import { endSnoozes } from '../../queue/pause.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { isNeighbourSlug } from '../reserved-names/reserved-names.ts'
import { absent, toWorkspace, type Workspace, type WorkspaceDeps } from './workspace.ts'
import { WORKSPACE_CHANNEL } from './workspace-directory.ts'
import * as sql from './workspaces.sql.ts'

interface Step {
  readonly status: sql.WorkspaceStatus
  readonly action: string
  readonly before?: 'active' | 'suspended'
  readonly deleteInSeconds?: number
}

/** What `decide` says becomes of the locked workspace, with its audit entry; every process follows within seconds. */
async function changeStatus(
  { db, environment }: WorkspaceDeps,
  id: string,
  change: Change,
  decide: (row: sql.WorkspaceRow, tx: Tx) => Step | Promise<Step>,
): Promise<Workspace> {
  return db.transaction(async (tx) => {
    const row = await sql.lockWorkspace(tx, { id })
    if (row?.environment !== environment) throw absent()
    const { status, action, before = null, deleteInSeconds = null } = await decide(row, tx)
    const by = nameOf(change)
    const after = await sql.updateStatus(tx, {
      id,
      status,
      reason: change.reason,
      by,
      before,
      deleteInSeconds,
    })
    await notify(tx, { channel: WORKSPACE_CHANNEL, payload: id })
    if (status === 'active') await letJobsGoOn(tx, id)
    await recordAudit(tx, {
      ...change,
      tenantId: id,
      action,
      object: `workspace:${row.slug}`,
      diff: [
        { path: '/status', before: row.status, after: status },
        ...(after.delete_after ? [{ path: '/delete_after', after: after.delete_after.toISOString() }] : []),
      ],
    })
    return toWorkspace(after)
  })
}

/**
 * Ends the waits that the suspension has brought upon jobs. Workers find them at their next look and are not woken: one
 * that claims before it has heard of the resumption would only make them wait again.
 */
async function letJobsGoOn(tx: Tx, tenantId: string): Promise<void> {
  for (const { lane } of await freeLanes(tx, { tenantId, reason: 'workspace_suspended' }))
    await endSnoozes(tx, { tenantId, lane })
}

const inThatState = (row: sql.WorkspaceRow): Problem =>
  new Problem(
    'conflict',
    row.status === 'deleting' ? 'The workspace is being deleted.' : `The workspace is already ${row.status}.`,
  )

/**
 * Suspends a workspace or lets it go on; every process follows within seconds. Errors: `not_found`,
 * `conflict` when it has that status already or is being deleted.
 */
export const setWorkspaceStatus = (
  deps: WorkspaceDeps,
  { id, status }: { readonly id: string; readonly status: 'active' | 'suspended' },
  change: Change,
): Promise<Workspace> =>
  changeStatus(deps, id, change, (row) => {
    const from = status === 'suspended' ? 'active' : 'suspended'
    if (row.status !== from) throw inThatState(row)
    return { status, action: status === 'suspended' ? 'workspace.suspended' : 'workspace.resumed' }
  })

const DAY_SECONDS = 86_400
/** Until then every process has heard of it, and calls that were under way are over: nobody writes into what is purged. */
const SHORTEST_GRACE_SECONDS = 120

/**
 * Begins the deletion: calls are refused and jobs stop at once, rows go when the grace is over. `confirm` is the slug,
 * typed by whoever does it. Errors: `not_found`, `validation_error` for another name, `conflict`.
 */
export const deleteWorkspace = (
  deps: WorkspaceDeps,
  { id, confirm, graceDays }: { readonly id: string; readonly confirm: string; readonly graceDays: number },
  change: Change,
): Promise<Workspace> =>
  changeStatus(deps, id, change, (row) => {
    if (row.status !== 'active' && row.status !== 'suspended') throw inThatState(row)
    if (isNeighbourSlug(row.slug))
      throw new Problem(
        'conflict',
        'The hub keeps this workspace for its own verifications, which hold others against it: it is suspended between them and cannot be deleted.',
      )
    if (confirm !== row.slug) {
      const message = 'must be the slug of the workspace'
      throw new Problem('validation_error', `/body/confirm ${message}.`, {
        details: [{ path: '/body/confirm', message }],
      })
    }
    return {
      status: 'deleting',
      action: 'workspace.deletion_started',
      before: row.status,
      deleteInSeconds: Math.max(graceDays * DAY_SECONDS, SHORTEST_GRACE_SECONDS),
    }
  })

/** Calls the deletion off, while nothing has been removed. Errors: `not_found`, `conflict`. */
export const restoreWorkspace = (deps: WorkspaceDeps, id: string, change: Change): Promise<Workspace> =>
  changeStatus(deps, id, change, async (row, tx) => {
    if (row.status !== 'deleting' || row.status_before === null)
      throw new Problem('conflict', `The workspace is ${row.status}: there is nothing to restore.`)
    // Asked after the lock was had: a step of the purge may have held it.
    if ((await sql.isDue(tx, { id })).due)
      throw new Problem('conflict', 'The grace is over: the workspace is being removed.')
    return { status: row.status_before, action: 'workspace.restored' }
  })
