import { maybeOne } from '../../platform/db/statement.ts'

export interface PauseRow {
  /** By this statement; false for a route that was paused before. */
  readonly paused_now: boolean
  /** What the route delivers to. */
  readonly connector: string
  readonly provider: string
}

/** Pauses a route that still delivers to the connector; no row when there is no such route any more. */
export const pauseIfItDelivers = maybeOne<
  {
    readonly tenantId: string
    readonly id: string
    readonly connector: string
    readonly by: string
    readonly why: string
  },
  PauseRow
>(
  'webhook_routes.pause_if_it_delivers',
  `with paused as (
     update webhook_route
     set paused_at = clock_timestamp(), paused_by = $4, paused_why = $5, version = version + 1, changed_at = now()
     where tenant_id = $1 and id = $2 and connector = $3 and paused_at is null
     returning id
   )
   select exists (select from paused) as paused_now, connector, provider
   from webhook_route where tenant_id = $1 and id = $2`,
  ({ tenantId, id, connector, by, why }) => [tenantId, id, connector, by, why],
)
