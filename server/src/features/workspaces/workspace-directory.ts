import type { Db } from '../../platform/db/db.ts'
import type { Notifications } from '../../platform/db/notifications.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import { type Environment, findById, listStatuses, type WorkspaceStatus } from './workspaces.sql.ts'

/** Hint to the processes that hold workspaces in memory; the payload is the workspace's id. */
export const WORKSPACE_CHANNEL = 'orchestrator_workspace'
/** NOTIFY tells at once; the poll finds what a lost hint did not tell. A suspension must hold everywhere within 5 s. */
const POLL_MS = 4_000

export interface WorkspaceEntry {
  readonly id: string
  readonly slug: string
  readonly environment: Environment
  /** A deleted workspace is none. */
  readonly status: Exclude<WorkspaceStatus, 'deleted'>
  /** Why it has its status, and since when; absent = since it was made. For its own people. */
  readonly statusReason?: string
  readonly statusAt?: Date
}

/** The workspaces in memory: no database read per request. */
export interface WorkspaceDirectory {
  /** Undefined = this hub has no such workspace. Errors: `database_unavailable` for one that memory does not know. */
  find(id: string): Promise<WorkspaceEntry | undefined>
  close(): void
}

/** Loads on first use. With the database down, what is known stays in force. */
export function createWorkspaceDirectory(options: {
  readonly db: Db
  readonly notifications: Pick<Notifications, 'listen'>
  readonly log: Log
  readonly environment: Environment
  readonly pollMs?: number
}): WorkspaceDirectory {
  const { db, log, environment } = options
  const known = new Map<string, Promise<WorkspaceEntry | undefined>>()

  const load = async (id: string): Promise<WorkspaceEntry | undefined> => {
    const row = await findById(db, { id, environment })
    if (!row || row.status === 'deleted') return undefined
    const { slug, status, status_reason, status_at } = row
    return {
      ...{ id, slug, environment: row.environment, status },
      ...(status_reason !== null && { statusReason: status_reason }),
      ...(status_at && { statusAt: status_at }),
    }
  }

  const find = (id: string): Promise<WorkspaceEntry | undefined> => {
    const held = known.get(id)
    if (held) return held
    const loading = load(id)
    // The promise itself is held: a hint that comes during the load removes it, so that it cannot stay as the truth.
    known.set(id, loading)
    const forget = () => {
      if (known.get(id) === loading) known.delete(id)
    }
    // What does not exist is not remembered: it may be created a moment later.
    loading.then((entry) => entry ?? forget(), forget)
    return loading
  }

  const forgetOutdated = async (): Promise<void> => {
    const statuses = new Map((await listStatuses(db, { ids: [...known.keys()] })).map((row) => [row.id, row]))
    for (const [id, held] of known) {
      const entry = await held
      const now = statuses.get(id)
      const same = entry?.status === now?.status && entry?.statusAt?.getTime() === now?.status_at?.getTime()
      if (entry && !same && known.get(id) === held) known.delete(id)
    }
  }

  const unlisten = options.notifications.listen(WORKSPACE_CHANNEL, (id) => {
    if (id === undefined) known.clear()
    else known.delete(id)
  })
  const poll = setInterval(() => {
    forgetOutdated().catch((error) => log.debug({ err: error }, 'the poll of the workspaces failed'))
  }, options.pollMs ?? POLL_MS).unref()

  return {
    find,
    close: () => {
      clearInterval(poll)
      unlisten()
    },
  }
}

/** The refusal of a workspace that does not run, for callers whose token was verified. */
export function workspaceStopped({ status, statusReason, statusAt }: WorkspaceEntry): Problem {
  const what = status === 'deleting' ? 'is being deleted' : 'is suspended'
  const why = statusReason === undefined ? '' : `: ${statusReason}`
  return new Problem('workspace_suspended', `The workspace of this token ${what}${why}.`, {
    members: {
      ...(statusReason !== undefined && { reason: statusReason }),
      ...(statusAt && { since: statusAt }),
    },
  })
}
