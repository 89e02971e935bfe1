import { many, maybeOne, one, run } from '../../platform/db/statement.ts'
import type { NewPayload, PayloadOwner } from './payload.ts'

interface Named {
  readonly tenantId: string
  readonly id: string
}

export const readHub = one<undefined, { readonly id: string }>(
  'payloads.hub',
  'select id from payload_hub',
  () => [],
)

/** Whether an object should be in this store. */
export const anyIn = one<{ readonly store: string }, { readonly found: boolean }>(
  'payloads.any_in',
  `select exists (
     select from payload p where p.store = $1
       and not exists (select from payload_spool s where s.tenant_id = p.tenant_id and s.id = p.id)
   ) as found`,
  ({ store }) => [store],
)

/** See the SQL function `spool_payload`. `total` is what the spool holds afterwards. */
export const spoolPayload = one<
  Named & { readonly body: Buffer; readonly limit: number },
  { readonly kept: boolean; readonly total: number }
>('payloads.spool', 'select kept, total from spool_payload($1, $2, $3, $4)', (of) => [
  of.tenantId,
  of.id,
  of.body,
  of.limit,
])

export const insertPayloads = run<{ readonly payloads: readonly NewPayload[] }>(
  'payloads.insert',
  `insert into payload (tenant_id, id, size, sha256, content_type, store, object_key, sealed_key, owner_kind, owner_id)
   select tenant_id, id, size, decode(sha256, 'hex'), content_type, store, object_key, decode(sealed_key, 'hex'),
          owner_kind, owner_id
   from json_to_recordset($1::json) as p (
     tenant_id uuid, id uuid, size int, sha256 text, content_type text, store text, object_key text, sealed_key text,
     owner_kind text, owner_id uuid
   )`,
  ({ payloads }) => [
    JSON.stringify(
      payloads.map(({ payload, owner }) => ({
        ...{ tenant_id: payload.tenantId, id: payload.id, size: payload.size, sha256: payload.sha256 },
        ...{ content_type: payload.contentType, store: payload.store, object_key: payload.objectKey },
        ...{ sealed_key: payload.sealedKey?.toString('hex') },
        ...{ owner_kind: owner.kind, owner_id: owner.id },
      })),
    ),
  ],
)

export interface PayloadRow {
  readonly id: string
  readonly size: number
  readonly sha256: Buffer
  readonly content_type: string
  readonly store: 'disk' | 's3'
  readonly object_key: string
  readonly sealed_key: Buffer | null
  readonly owner_kind: PayloadOwner['kind']
  readonly owner_id: string
  readonly created_at: Date
  readonly spooled: boolean
}

const COLUMNS = `p.id, p.size, p.sha256, p.content_type, p.store, p.object_key, p.sealed_key, p.owner_kind, p.owner_id,
  p.created_at`
const SPOOL = 'left join payload_spool s on s.tenant_id = p.tenant_id and s.id = p.id'

export const findPayload = maybeOne<Named, PayloadRow>(
  'payloads.find',
  `select ${COLUMNS}, s.id is not null as spooled from payload p ${SPOOL} where p.tenant_id = $1 and p.id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

/** With its bytes, while they are in the spool. */
export const findWithBody = maybeOne<Named, PayloadRow & { readonly body: Buffer | null }>(
  'payloads.find_with_body',
  `select ${COLUMNS}, s.id is not null as spooled, s.body from payload p ${SPOOL}
   where p.tenant_id = $1 and p.id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

/** The newest of an owner. */
export const findOfOwner = maybeOne<{ readonly tenantId: string; readonly owner: PayloadOwner }, PayloadRow>(
  'payloads.find_of_owner',
  `select ${COLUMNS}, s.id is not null as spooled from payload p ${SPOOL}
   where p.tenant_id = $1 and p.owner_kind = $2 and p.owner_id = $3 order by p.id desc limit 1`,
  ({ tenantId, owner }) => [tenantId, owner.kind, owner.id],
)

/** Their objects follow: see the trigger `payload_gone`. */
export const deletePayloads = run<{ readonly tenantId: string; readonly ids: readonly string[] }>(
  'payloads.delete',
  'delete from payload where tenant_id = $1 and id = any($2::uuid[])',
  ({ tenantId, ids }) => [tenantId, ids],
)

/** Newest first, for the file that is taken before a workspace goes. */
export const listPayloads = many<
  { readonly tenantId: string; readonly beforeId: string | undefined; readonly limit: number },
  PayloadRow
>(
  'payloads.list',
  `select ${COLUMNS}, s.id is not null as spooled from payload p ${SPOOL}
   where p.tenant_id = $1 and ($2::uuid is null or p.id < $2) order by p.id desc limit $3`,
  ({ tenantId, beforeId, limit }) => [tenantId, beforeId ?? null, limit],
)
