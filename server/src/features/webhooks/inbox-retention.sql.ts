import { one, run } from '../../platform/db/statement.ts'

/** For the rest of the transaction: tables that were empty when they were analysed may hold millions of rows now. */
export const avoidLoops = one<undefined, { readonly set: string }>(
  'webhooks.avoid_loops',
  `select set_config('enable_nestloop', 'off', true) as set`,
  () => [],
)

interface IdRange {
  readonly low: string
  readonly high: string
}

/** Whether events between two ids wait for their route, or have a job that is not over (`open_job`: a view of the queue). */
export const findUndelivered = one<IdRange, { readonly found: boolean }>(
  'webhooks.find_undelivered',
  `select exists (
     select from webhook_inbox where id >= $1 and id < $2 and state in ('held', 'waiting')
   ) or exists (
     select from webhook_inbox i
     join open_job o on o.tenant_id = i.tenant_id and o.job_id = i.job_id
     where i.id >= $1 and i.id < $2
   ) as found`,
  ({ low, high }) => [low, high],
)

/** Events of one workspace between two ids that nothing waits for any more, with their payloads. */
export const trimInbox = run<IdRange & { readonly tenantId: string; readonly most: number }>(
  'webhooks.trim_inbox',
  `with old as materialized (
     select i.id from webhook_inbox i
     where i.tenant_id = $1 and i.id >= $2 and i.id < $3 and i.state in ('accepted', 'ignored')
       and not exists (select from open_job o where o.tenant_id = i.tenant_id and o.job_id = i.job_id)
     limit $4
   ),
   payloads as (
     delete from webhook_payload p using old
     where p.tenant_id = $1 and p.id = old.id and p.id >= $2 and p.id < $3
   )
   delete from webhook_inbox i using old
   where i.tenant_id = $1 and i.id = old.id and i.id >= $2 and i.id < $3`,
  ({ tenantId, low, high, most }) => [tenantId, low, high, most],
)
