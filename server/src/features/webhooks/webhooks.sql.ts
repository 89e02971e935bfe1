import { run } from '../../platform/db/statement.ts'

/** Maintenance over all workspaces; rows that a copy is waiting at are left for the next time. */
export const deleteExpired = run<{ readonly limit: number }>(
  'webhooks.delete_expired',
  `delete from webhook_dedupe where (tenant_id, event_id, route_id) in (
     select tenant_id, event_id, route_id from webhook_dedupe
     where expires_at < now() order by expires_at limit $1 for update skip locked)`,
  ({ limit }) => [limit],
)
