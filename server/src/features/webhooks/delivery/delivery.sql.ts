import { many, maybeOne } from '../../../platform/db/statement.ts'

/** One inbox row of one workspace. */
export interface InboxRef {
  readonly tenantId: string
  readonly id: string
}

export interface DeliveredBytes {
  /** Place of the reference in the list, from 1. */
  readonly place: number
  readonly body: Buffer | null
  readonly payload_id: string | null
  readonly headers: Readonly<Record<string, string>>
}

/**
 * What the provider sent, for many deliveries of any workspaces at once; a reference of which nothing is kept has no
 * row. `offset 0` keeps a lookup a lookup by the whole key; the range of the ids lets the statement open the partitions of
 * their days instead of all.
 */
export const deliveredBytes = many<{ readonly refs: readonly InboxRef[] }, DeliveredBytes>(
  'webhooks.delivered_bytes',
  `select r.place::int as place, p.body, p.payload_id, p.headers
   from unnest($1::uuid[], $2::uuid[]) with ordinality as r (tenant_id, id, place)
   cross join lateral (
     select w.body, w.payload_id, w.headers from webhook_payload w
     where w.tenant_id = r.tenant_id and w.id = r.id and w.id >= $3 and w.id <= $4
     offset 0
   ) as p`,
  ({ refs }) => {
    const ids = refs.map(({ id }) => id)
    const sorted = ids.toSorted()
    return [refs.map(({ tenantId }) => tenantId), ids, sorted[0], sorted.at(-1)]
  },
)

/** How many bytes the provider sent, whether they are still kept or not. */
export const sizeOfEvent = maybeOne<InboxRef, { readonly size: number }>(
  'webhooks.size_of_event',
  'select size from webhook_inbox where tenant_id = $1 and id = $2',
  ({ tenantId, id }) => [tenantId, id],
)
