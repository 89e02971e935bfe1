import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Change as Authored } from '../audit/audit.ts'
import type { ConfigDeps } from '../configs/configs.ts'
import type { RouteChecks } from '../webhook-routes/webhook-routes.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'

export interface SecretPlace {
  readonly name: string
  readonly ref: string
}

type Named = SecretPlace & { readonly tenantId: string }

/** What bundles ask of secrets. `db` may be the transaction of an import: everything of it commits together. */
export interface BundleSecrets {
  readonly list: (on: Queryable, tenantId: string) => Promise<readonly SecretPlace[]>
  readonly put: (db: Db, secret: Named, change: Authored) => Promise<unknown>
  readonly remove: (db: Db, secret: Omit<Named, 'ref'>, change: Authored) => Promise<unknown>
  /** What is wrong with a ref, without repeating it: it may be a value. */
  readonly refFault: (ref: string) => string | undefined
  /** By name, why a ref does not resolve for the workspace; asked within a time limit, never in a transaction. */
  readonly unresolved: (
    tenantId: string,
    refs: readonly SecretPlace[],
  ) => Promise<ReadonlyMap<string, string>>
}

export interface BundleDeps {
  readonly db: Db
  readonly clock: Pick<Clock, 'now'>
  readonly config: Omit<ConfigDeps, 'db' | 'unresolved'>
  readonly secrets: BundleSecrets
  readonly routeChecks: RouteChecks
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
  /** Where this hub takes webhooks: a callback that leads there may come back to itself. */
  readonly ingressUrls: readonly string[]
}
