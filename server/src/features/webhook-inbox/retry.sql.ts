import { run } from '../../platform/db/statement.ts'

/** Events get a new delivery. */
export const setDeliveries = run<{
  readonly tenantId: string
  readonly deliveries: readonly { readonly inboxId: string; readonly jobId: string }[]
}>(
  'webhook_inbox.set_deliveries',
  `update webhook_inbox i set state = 'accepted', held_why = null, job_id = d.job_id
   from unnest($2::uuid[], $3::uuid[]) as d (inbox_id, job_id)
   where i.tenant_id = $1 and i.id = d.inbox_id`,
  ({ tenantId, deliveries }) => [
    tenantId,
    deliveries.map(({ inboxId }) => inboxId),
    deliveries.map(({ jobId }) => jobId),
  ],
)
