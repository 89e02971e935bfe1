import { many, maybeOne, one, run } from '../../platform/db/statement.ts'
import type { Quotas } from './quota-limits.ts'

export type Environment = 'dev' | 'prod'
/** `deleting` has a grace in which it can be restored; of `deleted` only the name and the audit log are left. */
export type WorkspaceStatus = 'active' | 'suspended' | 'deleting' | 'deleted'

export interface WorkspaceRow {
  readonly id: string
  readonly slug: string
  readonly name: string
  readonly environment: Environment
  readonly status: WorkspaceStatus
  readonly created_at: Date
  readonly template: string | null
  /** Of the present status; null = it is as it was made. */
  readonly status_reason: string | null
  readonly status_by: string | null
  readonly status_at: Date | null
  /** Of `deleting`: what a restored workspace goes back to. */
  readonly status_before: 'active' | 'suspended' | null
  readonly delete_after: Date | null
}

const COLUMNS = `id, slug, name, environment, status, created_at, template, status_reason, status_by, status_at,
  status_before, delete_after`

export type NewRow = Pick<WorkspaceRow, 'id' | 'slug' | 'name' | 'environment' | 'template'> & {
  readonly quotas: Partial<Quotas>
}

export const insertWorkspace = one<NewRow, WorkspaceRow>(
  'workspaces.insert',
  `insert into workspace (id, slug, name, environment, template, quotas) values ($1, $2, $3, $4, $5, $6)
   returning ${COLUMNS}`,
  ({ id, slug, name, environment, template, quotas }) => [
    ...[id, slug, name, environment, template, JSON.stringify(quotas)],
  ],
)

export const findById = maybeOne<{ readonly id: string; readonly environment: Environment }, WorkspaceRow>(
  'workspaces.find',
  `select ${COLUMNS} from workspace where id = $1 and environment = $2`,
  ({ id, environment }) => [id, environment],
)

export interface WorkspaceFilter {
  readonly environment: Environment
  /** Only those; absent = all but the deleted ones. */
  readonly status?: WorkspaceStatus | 'any' | undefined
  /** Only this one; null = all. */
  readonly onlyId: string | null
  /** Only those made before this one; absent = from the newest. */
  readonly beforeId?: string | undefined
  readonly limit: number
}

/** Newest first. */
export const listRows = many<WorkspaceFilter, WorkspaceRow>(
  'workspaces.list',
  `select ${COLUMNS} from workspace
   where environment = $1 and ($2::uuid is null or id = $2) and ($3::uuid is null or id < $3)
     and case $5::text when 'any' then true when status then true else $5::text is null and status <> 'deleted' end
   order by id desc limit $4`,
  ({ environment, onlyId, beforeId, limit, status }) => [
    ...[environment, onlyId, beforeId ?? null, limit, status ?? null],
  ],
)

export const updateStatus = one<
  {
    readonly id: string
    readonly status: WorkspaceStatus
    readonly reason: string
    readonly by: string
    readonly before: 'active' | 'suspended' | null
    /** Seconds from now on the clock of the database; null = it is not going to be deleted. */
    readonly deleteInSeconds: number | null
  },
  WorkspaceRow
>(
  'workspaces.set_status',
  `update workspace
   set status = $2, status_reason = $3, status_by = $4, status_at = now(), status_before = $5,
     delete_after = now() + make_interval(secs => $6)
   where id = $1 returning ${COLUMNS}`,
  ({ id, status, reason, by, before, deleteInSeconds }) => [id, status, reason, by, before, deleteInSeconds],
)

/** Whether its time has come, on the clock of now and not of the beginning of the transaction. */
export const isDue = one<{ readonly id: string }, { readonly due: boolean }>(
  'workspaces.is_due',
  'select coalesce(delete_after <= clock_timestamp(), false) as due from workspace where id = $1',
  ({ id }) => [id],
)

/** Whose time has come, the longest due first. */
export const listToPurge = many<{ readonly environment: Environment }, Pick<WorkspaceRow, 'id' | 'slug'>>(
  'workspaces.to_purge',
  `select id, slug from workspace
   where status = 'deleting' and delete_after <= now() and environment = $1
   order by delete_after limit 100`,
  ({ environment }) => [environment],
)

/** Removes up to so many rows; 0 = nothing is left. The function refuses a workspace whose time has not come. */
export const purgeRows = one<{ readonly id: string; readonly rows: number }, { readonly gone: number }>(
  'workspaces.purge',
  'select purge_workspace($1, $2) as gone',
  ({ id, rows }) => [id, rows],
)

/** What stays of a workspace is its slug. */
export const buryWorkspace = run<{ readonly id: string }>(
  'workspaces.bury',
  `update workspace
   set status = 'deleted', name = slug, quotas = '{}', status_at = now(), status_before = null
   where id = $1 and status = 'deleting' and delete_after <= now()`,
  ({ id }) => [id],
)

/** What of these has changed is found by the time of its status: nothing else ever changes that memory holds. */
export const listStatuses = many<
  { readonly ids: readonly string[] },
  Pick<WorkspaceRow, 'id' | 'status' | 'status_at'>
>('workspaces.statuses', 'select id, status, status_at from workspace where id = any($1)', ({ ids }) => [ids])

/** Changes of one workspace that must not run at the same time queue up at its row; readers are not held up. */
export const lockWorkspace = maybeOne<
  { readonly id: string },
  WorkspaceRow & { readonly quotas: Partial<Quotas> }
>('workspaces.lock', `select ${COLUMNS}, quotas from workspace where id = $1 for no key update`, ({ id }) => [
  id,
])
