import { many, run } from '../../platform/db/statement.ts'

/** Whether there is anything to deliver; a row that is no longer kept is not among them. */
export const findErased = many<
  { readonly tenantId: string; readonly ids: readonly string[] },
  { readonly id: string; readonly erased: boolean }
>(
  'webhook_inbox.erased',
  `select id, erased_at is not null as erased from webhook_payload
   where tenant_id = $1 and id = any($2::uuid[])`,
  ({ tenantId, ids }) => [tenantId, ids],
)

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
