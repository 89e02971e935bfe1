import type { Queryable } from '../src/platform/db/statement.ts'
import { newId } from '../src/platform/ids.ts'

/** An event that the provider lists and that never arrived; gives the id of the gap. */
export async function missingWebhook(
  on: Queryable,
  of: { readonly tenantId: string; readonly routeId: string; readonly eventId: string },
): Promise<string> {
  const id = newId()
  await on.execute(
    {
      name: '',
      text: `insert into webhook_gap (tenant_id, id, route_id, event_id, event_type, handle, occurred_at)
             values ($1, $2, $3, $4, 'plan.created', $4, now())`,
    },
    [of.tenantId, id, of.routeId, of.eventId],
  )
  return id
}
