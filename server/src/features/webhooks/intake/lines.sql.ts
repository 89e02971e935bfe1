import { many, one } from '../../../platform/db/statement.ts'
import type { JobRecord } from '../../../queue/enqueue.ts'
import type { TurnRow } from './take.sql.ts'

/** A line, and the id for the job that is made should somebody's turn come. */
export interface LineKey {
  readonly tenant_id: string
  readonly route_id: string
  readonly key: string
  readonly inbox_id: string
  readonly id: string
}

/** See the SQL function `end_webhook_turns`. */
export const endTurns = one<
  { readonly ended: readonly (LineKey & { readonly held: boolean })[] },
  { readonly turns: readonly TurnRow[] | null }
>('webhooks.end_turns', 'select end_webhook_turns($1::json) as turns', ({ ended }) => [JSON.stringify(ended)])

/** Lines to look after, the one that has waited longest first. Of all workspaces. */
export const linesToLookAfter = many<{ readonly limit: number }, Omit<LineKey, 'id'>>(
  'webhooks.lines_to_look_after',
  `select tenant_id, route_id, key, inbox_id from webhook_line
   where look_at <= now() order by look_at limit $1`,
  ({ limit }) => [limit],
)

/** See the SQL function `look_after_webhook_lines`. */
export const lookAfterLines = one<
  { readonly lines: readonly LineKey[] },
  { readonly turns: readonly TurnRow[] | null }
>('webhooks.look_after_lines', 'select look_after_webhook_lines($1::json) as turns', ({ lines }) => [
  JSON.stringify(lines),
])

/** An event that was held or ignored, and its delivery. */
export interface KeptEvent {
  readonly tenant_id: string
  readonly inbox_id: string
  readonly route_id: string
  /** Null: the route has no ordering, or the event no such key. */
  readonly key: string | null
  readonly limit_ms: number | null
  readonly id: string
  readonly job: JobRecord
  /** For the timeline. */
  readonly why: string
}

/** See the SQL function `deliver_kept_webhooks`. */
export const deliverKept = one<
  { readonly events: readonly KeptEvent[] },
  {
    readonly moved: readonly { readonly inbox_id: string; readonly at_once: boolean }[] | null
    readonly turns: readonly TurnRow[] | null
  }
>('webhooks.deliver_kept', 'select * from deliver_kept_webhooks($1::json)', ({ events }) => [
  JSON.stringify(events),
])
