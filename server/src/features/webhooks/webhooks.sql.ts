import { one, run } from '../../platform/db/statement.ts'

/** Maintenance over all workspaces; rows that a copy is waiting at are left for the next time. */
export const deleteExpired = run<{ readonly limit: number }>(
  'webhooks.delete_expired',
  `delete from webhook_dedupe where (tenant_id, event_id, route_id) in (
     select tenant_id, event_id, route_id from webhook_dedupe
     where expires_at < now() order by expires_at limit $1 for update skip locked)`,
  ({ limit }) => [limit],
)

/** Whether the row of the inbox was made by the release of what came with this request. */
export const isMadeByRelease = one<
  { readonly tenantId: string; readonly inboxId: string; readonly requestId: string },
  { readonly made: boolean }
>(
  'webhooks.made_by_release',
  `select exists (
     select from webhook_inbox where tenant_id = $1 and id = $2 and source = 'released' and request_id = $3
   ) as made`,
  ({ tenantId, inboxId, requestId }) => [tenantId, inboxId, requestId],
)
