import { many, run } from '../../platform/db/statement.ts'
import type { PlanRef } from './plans.sql.ts'

export const insertItems = run<PlanRef & { readonly ids: readonly string[] }>(
  'webhook_plans.insert_items',
  `insert into webhook_plan_item (tenant_id, plan_id, inbox_id) select $1, $2, unnest($3::uuid[])
   on conflict do nothing`,
  ({ tenantId, id, ids }) => [tenantId, id, ids],
)

/** The oldest that are left; they are done with the commit of the transaction. */
export const takeItems = many<PlanRef & { readonly limit: number }, { readonly inbox_id: string }>(
  'webhook_plans.take_items',
  `delete from webhook_plan_item where tenant_id = $1 and plan_id = $2 and inbox_id = any (array(
     select inbox_id from webhook_plan_item where tenant_id = $1 and plan_id = $2 order by inbox_id limit $3))
   returning inbox_id`,
  ({ tenantId, id, limit }) => [tenantId, id, limit],
)

/** Plans that were never committed are forgotten after a day, the others after `days`; gives how many. */
export const forgetPlans = run<{ readonly days: number; readonly limit: number }>(
  'webhook_plans.forget',
  `delete from webhook_plan p using (
     select tenant_id, id from webhook_plan
     where state not in ('searching', 'running')
       and created_at < clock_timestamp() - case when committed_at is null then 1 else $1 end * interval '1 day'
     order by created_at limit $2
     for update skip locked
   ) as old
   where p.tenant_id = old.tenant_id and p.id = old.id`,
  ({ days, limit }) => [days, limit],
)

/** What plans that have ended before their end were still to do, and what expired ones would have done. */
export const forgetItems = run<{ readonly limit: number }>(
  'webhook_plans.forget_items',
  `delete from webhook_plan_item where ctid = any (array(
     select i.ctid from webhook_plan p
     join webhook_plan_item i on i.tenant_id = p.tenant_id and i.plan_id = p.id
     where p.state in ('aborted', 'failed') or p.state = 'planned' and p.expires_at < clock_timestamp()
     limit $1))`,
  ({ limit }) => [limit],
)

/** Whom an expired plan was about is forgotten at once, not with the plan. */
export const forgetSubjects = run<{ readonly limit: number }>(
  'webhook_plans.forget_subjects',
  `update webhook_plan p
   set selection = json_build_object('subject', case when selection #> '{subject,pointer}' is null then '{}'::json
                                       else json_build_object('pointer', selection #> '{subject,pointer}') end)
   from (
     select tenant_id, id from webhook_plan
     where state = 'planned' and expires_at < clock_timestamp()
       and (selection #> '{subject,equals}' is not null or selection #> '{subject,contains}' is not null)
     limit $1 for update skip locked
   ) as old
   where p.tenant_id = old.tenant_id and p.id = old.id`,
  ({ limit }) => [limit],
)
