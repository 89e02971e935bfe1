import { many, one, run } from '../../platform/db/statement.ts'

interface Rows {
  readonly tenantId: string
  readonly ids: readonly string[]
}

/** See the SQL function `leave_webhook_lines`. */
export const leaveLines = one<
  {
    readonly leaving: readonly {
      readonly tenant_id: string
      readonly inbox_id: string
      readonly id: string
    }[]
  },
  {
    readonly turns:
      | readonly { readonly tenant_id: string; readonly queue: number; readonly lane: number }[]
      | null
  }
>('webhook_inbox.leave_lines', 'select leave_webhook_lines($1::json) as turns', ({ leaving }) => [
  JSON.stringify(leaving),
])

export interface ErasedRow {
  readonly id: string
  readonly payload_id: string | null
  readonly sha256: Buffer
}

/** Removes the bytes and headers; gives those that were there, with where they were in the payload store. */
export const erasePayloads = many<Rows, ErasedRow>(
  'webhook_inbox.erase_payloads',
  `with held as materialized (
     select id, payload_id from webhook_payload
     where tenant_id = $1 and id = any($2::uuid[]) and erased_at is null order by id for update
   )
   update webhook_payload p set body = null, payload_id = null, headers = '{}', erased_at = clock_timestamp()
   from held where p.tenant_id = $1 and p.id = held.id
   returning p.id, held.payload_id, p.sha256`,
  ({ tenantId, ids }) => [tenantId, ids],
)

/** What waited without a job waits for nothing any more. */
export const endWaiting = run<Rows>(
  'webhook_inbox.end_waiting',
  `update webhook_inbox set state = 'ignored', held_why = null
   where tenant_id = $1 and id = any($2::uuid[]) and state in ('held', 'waiting')`,
  ({ tenantId, ids }) => [tenantId, ids],
)
