import { many, maybeOne, run } from '../../platform/db/statement.ts'

export interface SecretRefRow {
  readonly name: string
  readonly ref: string
  readonly previous_ref: string | null
  readonly previous_until: Date | null
  readonly previous_accepted: boolean
  readonly rotated: 'ref' | 'value' | null
  readonly rotated_at: Date
  readonly last_used_at: Date | null
  readonly created_at: Date
  readonly updated_at: Date
  /** Of the value that the hub keeps, when the ref leads there; null when there is none yet. */
  readonly version: number | null
  readonly last_four: string | null
}

/** Enough to find the values. */
export interface PlaceRow {
  readonly ref: string
  /** Only while it is still accepted. */
  readonly previous_ref: string | null
}

interface Key {
  readonly tenantId: string
  readonly name: string
}

const SELECT = `select r.name, r.ref, r.previous_ref, r.previous_until,
   coalesce(r.previous_until > now(), false) as previous_accepted, r.rotated, r.rotated_at, r.last_used_at,
   r.created_at, r.updated_at, v.version, v.last_four
 from secret_ref r
 left join secret_value v on v.tenant_id = r.tenant_id and v.name = r.name and v.state = 'active'
   and r.ref = 'store://' || r.name`

export const findRef = maybeOne<Key, SecretRefRow>(
  'secrets.find',
  `${SELECT} where r.tenant_id = $1 and r.name = $2`,
  ({ tenantId, name }) => [tenantId, name],
)

export const findPlace = maybeOne<Key, PlaceRow>(
  'secrets.find_place',
  `select ref, case when previous_until > now() then previous_ref end as previous_ref
   from secret_ref where tenant_id = $1 and name = $2`,
  ({ tenantId, name }) => [tenantId, name],
)

/** By name. */
export const listRows = many<
  { readonly tenantId: string; readonly afterName?: string | undefined; readonly limit: number },
  SecretRefRow
>(
  'secrets.list',
  `${SELECT} where r.tenant_id = $1 and ($2::text is null or r.name collate "C" > $2)
   order by r.name collate "C" limit $3`,
  ({ tenantId, afterName, limit }) => [tenantId, afterName ?? null, limit],
)

export const listNames = many<{ readonly tenantId: string }, { name: string }>(
  'secrets.names',
  'select name from secret_ref where tenant_id = $1',
  ({ tenantId }) => [tenantId],
)

export const insertRef = run<Key & { readonly ref: string }>(
  'secrets.insert',
  'insert into secret_ref (tenant_id, name, ref) values ($1, $2, $3)',
  ({ tenantId, name, ref }) => [tenantId, name, ref],
)

/** Points the ref elsewhere; where it led before is accepted for so many seconds more, and kept for a revert. */
export const pointElsewhere = run<Key & { readonly ref: string; readonly overlapSeconds: number }>(
  'secrets.point_elsewhere',
  `update secret_ref
   set ref = $3, previous_ref = ref, rotated = 'ref', rotated_at = clock_timestamp(), updated_at = now(),
     previous_until = case when $4::int > 0 then now() + make_interval(secs => $4::int) end
   where tenant_id = $1 and name = $2`,
  ({ tenantId, name, ref, overlapSeconds }) => [tenantId, name, ref, overlapSeconds],
)

/** Where the value was before is accepted no longer; it is kept for a revert. */
export const endPlaceOverlap = run<Key>(
  'secrets.end_place_overlap',
  `update secret_ref set previous_until = null
   where tenant_id = $1 and name = $2 and previous_until is not null`,
  ({ tenantId, name }) => [tenantId, name],
)

/** Notes that the value at the same place is another one now. */
export const valueRotated = run<Key>(
  'secrets.value_rotated',
  `update secret_ref set rotated = 'value', rotated_at = clock_timestamp()
   where tenant_id = $1 and name = $2`,
  ({ tenantId, name }) => [tenantId, name],
)

export const deleteRow = run<Key>(
  'secrets.delete',
  'delete from secret_ref where tenant_id = $1 and name = $2',
  ({ tenantId, name }) => [tenantId, name],
)

export interface Use extends Key {
  readonly at: Date
}

/** In the order of the key, so that two processes that write at once do not wait for each other. */
export const markUsed = run<readonly Use[]>(
  'secrets.mark_used',
  `with used as (
     select * from unnest($1::uuid[], $2::text[], $3::timestamptz[]) as u (tenant_id, name, at)
   ), locked as (
     select r.tenant_id, r.name from secret_ref r join used using (tenant_id, name)
     order by r.tenant_id, r.name for update of r
   )
   update secret_ref r set last_used_at = greatest(r.last_used_at, used.at)
   from locked join used using (tenant_id, name)
   where r.tenant_id = locked.tenant_id and r.name = locked.name`,
  (uses) => [
    uses.map(({ tenantId }) => tenantId),
    uses.map(({ name }) => name),
    uses.map(({ at }) => at.toISOString()),
  ],
)
