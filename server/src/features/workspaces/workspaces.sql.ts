import { many, maybeOne, one } from '../../platform/db/statement.ts'

export type Environment = 'dev' | 'prod'
export type WorkspaceStatus = 'active' | 'suspended'

export interface WorkspaceRow {
  readonly id: string
  readonly slug: string
  readonly name: string
  readonly environment: Environment
  readonly status: WorkspaceStatus
  readonly created_at: Date
}

const COLUMNS = 'id, slug, name, environment, status, created_at'

export const insertWorkspace = one<Pick<WorkspaceRow, 'id' | 'slug' | 'name' | 'environment'>, WorkspaceRow>(
  'workspaces.insert',
  `insert into workspace (id, slug, name, environment) values ($1, $2, $3, $4) returning ${COLUMNS}`,
  ({ id, slug, name, environment }) => [id, slug, name, environment],
)

export const findById = maybeOne<{ readonly id: string; readonly environment: Environment }, WorkspaceRow>(
  'workspaces.find',
  `select ${COLUMNS} from workspace where id = $1 and environment = $2`,
  ({ id, environment }) => [id, environment],
)

export interface WorkspaceFilter {
  readonly environment: Environment
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
   order by id desc limit $4`,
  ({ environment, onlyId, beforeId, limit }) => [environment, onlyId, beforeId ?? null, limit],
)

/** Gives nothing when the workspace has that status already. */
export const updateStatus = maybeOne<
  { readonly id: string; readonly environment: Environment; readonly status: WorkspaceStatus },
  WorkspaceRow
>(
  'workspaces.set_status',
  `update workspace set status = $3 where id = $1 and environment = $2 and status <> $3 returning ${COLUMNS}`,
  ({ id, environment, status }) => [id, environment, status],
)

/** What of these has changed is found by its status: nothing else of a workspace ever changes that memory holds. */
export const listStatuses = many<{ readonly ids: readonly string[] }, Pick<WorkspaceRow, 'id' | 'status'>>(
  'workspaces.statuses',
  'select id, status from workspace where id = any($1)',
  ({ ids }) => [ids],
)

/** Changes of one workspace that must not run at the same time queue up at its row; readers are not held up. */
export const lockWorkspace = maybeOne<{ readonly id: string }, Pick<WorkspaceRow, 'id'>>(
  'workspaces.lock',
  'select id from workspace where id = $1 for no key update',
  ({ id }) => [id],
)
