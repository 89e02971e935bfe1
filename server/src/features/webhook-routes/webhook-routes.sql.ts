import { many, maybeOne, one } from '../../platform/db/statement.ts'
import type { QueueName } from '../../queue/job.ts'

/** A secret's window as stored; times are ISO 8601. */
export interface WindowRow {
  readonly secret_ref: string
  readonly valid_from: string | null
  readonly valid_until: string | null
}

export interface RouteRow {
  readonly tenant_id: string
  readonly id: string
  readonly provider: string
  readonly account: string | null
  readonly livemode: boolean
  readonly connector: string
  readonly secret_refs: readonly string[]
  readonly queue: QueueName
  readonly event_types: readonly string[]
  readonly emit_on_delivery: readonly { readonly event_types: readonly string[]; readonly event: string }[]
  readonly secret_windows: readonly WindowRow[]
  readonly settings: Readonly<Record<string, unknown>>
  readonly ordering: { readonly key: string; readonly limit_ms: number } | null
  readonly gap_check: {
    readonly connector: string
    readonly pull: 'automatic' | 'manual'
    readonly every_seconds: number
    readonly settings: Readonly<Record<string, unknown>>
  } | null
  readonly paused_at: Date | null
  readonly paused_by: string | null
  readonly paused_why: string | null
  readonly version: number
  readonly created_at: Date
  readonly created_by: string
}

export const insertRoute = one<
  Omit<RouteRow, 'created_at' | 'version' | 'paused_at' | 'paused_by' | 'paused_why'>,
  RouteRow
>(
  'webhook_routes.insert',
  `insert into webhook_route (tenant_id, id, provider, account, livemode, connector, secret_refs, queue,
                              event_types, emit_on_delivery, created_by, secret_windows, settings, ordering, gap_check)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
   returning *`,
  (row) => [
    row.tenant_id,
    row.id,
    row.provider,
    row.account,
    row.livemode,
    row.connector,
    row.secret_refs,
    row.queue,
    row.event_types,
    JSON.stringify(row.emit_on_delivery),
    row.created_by,
    JSON.stringify(row.secret_windows),
    JSON.stringify(row.settings),
    row.ordering && JSON.stringify(row.ordering),
    row.gap_check && JSON.stringify(row.gap_check),
  ],
)

/** Another own-account route of the workspace that one of these secrets would verify too. */
export const findRouteWithSameSecret = maybeOne<
  Pick<RouteRow, 'tenant_id' | 'id' | 'provider' | 'livemode' | 'secret_refs'>,
  { readonly id: string }
>(
  'webhook_routes.find_same_secret',
  `select id from webhook_route
   where tenant_id = $1 and id <> $2 and provider = $3 and livemode = $4 and account is null
     and secret_refs && $5::text[]
   limit 1`,
  (row) => [row.tenant_id, row.id, row.provider, row.livemode, row.secret_refs],
)

/** What the own-account routes of the workspace verify with, but for the one with this id. */
export const ownAccountSecrets = many<
  Pick<RouteRow, 'provider' | 'livemode'> & { readonly tenantId: string; readonly id: string | undefined },
  Pick<RouteRow, 'secret_refs'>
>(
  'webhook_routes.own_account_secrets',
  `select secret_refs from webhook_route
   where tenant_id = $1 and provider = $2 and livemode = $3 and account is null and ($4::uuid is null or id <> $4)`,
  ({ tenantId, provider, livemode, id }) => [tenantId, provider, livemode, id ?? null],
)

export const findRoute = maybeOne<{ readonly tenantId: string; readonly id: string }, RouteRow>(
  'webhook_routes.find',
  'select * from webhook_route where tenant_id = $1 and id = $2',
  ({ tenantId, id }) => [tenantId, id],
)

export interface RouteFilter {
  readonly tenantId: string
  readonly provider?: string | undefined
  /** Only routes older than this one; absent = from the newest. */
  readonly beforeId?: string | undefined
  readonly limit: number
}

/** Newest first. */
export const listRoutes = many<RouteFilter, RouteRow>(
  'webhook_routes.list',
  `select * from webhook_route
   where tenant_id = $1 and ($2::text is null or provider = $2) and ($3::uuid is null or id < $3)
   order by id desc limit $4`,
  ({ tenantId, provider, beforeId, limit }) => [tenantId, provider ?? null, beforeId ?? null, limit],
)

/** For a transaction that changes it. */
export const lockRoute = maybeOne<{ readonly tenantId: string; readonly id: string }, RouteRow>(
  'webhook_routes.lock',
  'select * from webhook_route where tenant_id = $1 and id = $2 for update',
  ({ tenantId, id }) => [tenantId, id],
)

/** Whose events it takes stays as it is. */
export const updateRoute = one<
  Pick<
    RouteRow,
    | 'tenant_id'
    | 'id'
    | 'connector'
    | 'secret_refs'
    | 'queue'
    | 'event_types'
    | 'emit_on_delivery'
    | 'secret_windows'
    | 'settings'
    | 'ordering'
    | 'gap_check'
  >,
  RouteRow
>(
  'webhook_routes.update',
  `update webhook_route
   set connector = $3, secret_refs = $4, queue = $5, event_types = $6, emit_on_delivery = $7, secret_windows = $8,
       settings = $9, ordering = $10, gap_check = $11, version = version + 1, changed_at = now()
   where tenant_id = $1 and id = $2
   returning *`,
  (row) => [
    row.tenant_id,
    row.id,
    row.connector,
    row.secret_refs,
    row.queue,
    row.event_types,
    JSON.stringify(row.emit_on_delivery),
    JSON.stringify(row.secret_windows),
    JSON.stringify(row.settings),
    row.ordering && JSON.stringify(row.ordering),
    row.gap_check && JSON.stringify(row.gap_check),
  ],
)

/** `by` and `why` null: it goes on. */
export const setPaused = one<
  {
    readonly tenantId: string
    readonly id: string
    readonly by: string | null
    readonly why: string | null
  },
  RouteRow
>(
  'webhook_routes.set_paused',
  `update webhook_route
   set paused_at = case when $3::text is null then null else clock_timestamp() end, paused_by = $3, paused_why = $4,
       version = version + 1, changed_at = now()
   where tenant_id = $1 and id = $2
   returning *`,
  ({ tenantId, id, by, why }) => [tenantId, id, by, why],
)

export const deleteRoute = maybeOne<{ readonly tenantId: string; readonly id: string }, RouteRow>(
  'webhook_routes.delete',
  'delete from webhook_route where tenant_id = $1 and id = $2 returning *',
  ({ tenantId, id }) => [tenantId, id],
)

/** The routes that a secret ref verifies for. */
export const idsBySecret = many<
  { readonly tenantId: string; readonly name: string },
  { readonly id: string }
>(
  'webhook_routes.ids_by_secret',
  'select id from webhook_route where tenant_id = $1 and $2 = any(secret_refs) order by id',
  ({ tenantId, name }) => [tenantId, name],
)

export const targets = many<{ readonly tenantId: string }, Pick<RouteRow, 'id' | 'connector'>>(
  'webhook_routes.targets',
  'select id, connector from webhook_route where tenant_id = $1 order by id',
  ({ tenantId }) => [tenantId],
)

/** Over all workspaces: ingress finds out whose event it is. */
export const allRoutes = many<Record<string, never>, RouteRow>(
  'webhook_routes.all',
  'select * from webhook_route order by id',
  () => [],
)

export const generation = one<Record<string, never>, { readonly number: number }>(
  'webhook_routes.generation',
  'select number from webhook_route_generation',
  () => [],
)

/** Gives nothing when an account is claimed, by whatever workspace. Only for a transaction that is given up again. */
export const tryClaim = maybeOne<
  Pick<RouteRow, 'tenant_id' | 'id' | 'provider' | 'account' | 'livemode'>,
  { readonly id: string }
>(
  'webhook_routes.try_claim',
  `insert into webhook_route (tenant_id, id, provider, account, livemode, connector, secret_refs, queue,
                              event_types, created_by)
   values ($1, $2, $3, $4, $5, 'a-trial', '{a-trial}', 'low', '{*}', 'a trial')
   on conflict (provider, account, livemode) where account is not null do nothing
   returning id`,
  (row) => [row.tenant_id, row.id, row.provider, row.account, row.livemode],
)
