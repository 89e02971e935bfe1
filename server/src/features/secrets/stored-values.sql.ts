import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

export interface Key {
  readonly tenantId: string
  readonly name: string
}

export interface SealedRow {
  readonly tenant_id: string
  readonly name: string
  readonly version: number
  readonly sealed: Buffer
}

export interface VersionRow {
  readonly version: number
  readonly last_four: string | null
  readonly state: 'active' | 'replaced'
  readonly accepted_until: Date | null
  readonly created_at: Date
  readonly created_by: string
}

const VERSION = 'version, last_four, state, accepted_until, created_at, created_by'

/** The active version first, then those that are still accepted, newest first. */
export const sealedInUse = many<Key, SealedRow>(
  'secrets.values_in_use',
  `select tenant_id, name, version, sealed from secret_value
   where tenant_id = $1 and name = $2 and (state = 'active' or accepted_until > now())
   order by state = 'active' desc, version desc`,
  ({ tenantId, name }) => [tenantId, name],
)

export const insertVersion = run<
  Key & {
    readonly version: number
    readonly sealed: Buffer
    readonly keyId: string
    readonly lastFour: string | null
    readonly createdBy: string
  }
>(
  'secrets.insert_value',
  `insert into secret_value (tenant_id, name, version, sealed, key_id, last_four, state, created_by)
   values ($1, $2, $3, $4, $5, $6, 'active', $7)`,
  ({ tenantId, name, version, sealed, keyId, lastFour, createdBy }) => [
    tenantId,
    name,
    version,
    sealed,
    keyId,
    lastFour,
    createdBy,
  ],
)

/** Ends the active version; it is accepted for so many seconds more. */
export const replaceActive = maybeOne<
  Key & { readonly overlapSeconds: number },
  { version: number; accepted_until: Date | null }
>(
  'secrets.replace_value',
  `update secret_value
   set state = 'replaced', replaced_at = clock_timestamp(),
     accepted_until = case when $3::int > 0 then now() + make_interval(secs => $3::int) end
   where tenant_id = $1 and name = $2 and state = 'active'
   returning version, accepted_until`,
  ({ tenantId, name, overlapSeconds }) => [tenantId, name, overlapSeconds],
)

/**
 * Whatever was replaced before is accepted no longer. Each rotation does this first: an overlap is of the value that
 * it replaces, and of no other.
 */
export const endOverlaps = run<Key>(
  'secrets.end_value_overlaps',
  `update secret_value set accepted_until = null
   where tenant_id = $1 and name = $2 and accepted_until is not null`,
  ({ tenantId, name }) => [tenantId, name],
)

export const activate = run<Key & { readonly version: number }>(
  'secrets.activate_value',
  `update secret_value set state = 'active', replaced_at = null, accepted_until = null
   where tenant_id = $1 and name = $2 and version = $3`,
  ({ tenantId, name, version }) => [tenantId, name, version],
)

/** The version that a revert brings back: the one that was replaced last. */
export const lastReplaced = maybeOne<Key, { version: number }>(
  'secrets.last_replaced_value',
  `select version from secret_value where tenant_id = $1 and name = $2 and state = 'replaced'
   order by replaced_at desc, version desc limit 1`,
  ({ tenantId, name }) => [tenantId, name],
)

export const findVersion = maybeOne<Key & { readonly version: number }, VersionRow>(
  'secrets.find_value',
  `select ${VERSION} from secret_value where tenant_id = $1 and name = $2 and version = $3`,
  ({ tenantId, name, version }) => [tenantId, name, version],
)

export const listVersions = many<
  Key & { readonly before?: number | undefined; readonly limit: number },
  VersionRow
>(
  'secrets.list_values',
  `select ${VERSION} from secret_value
   where tenant_id = $1 and name = $2 and ($3::int is null or version < $3)
   order by version desc limit $4`,
  ({ tenantId, name, before, limit }) => [tenantId, name, before ?? null, limit],
)

export const deleteVersion = run<Key & { readonly version: number }>(
  'secrets.delete_value',
  `delete from secret_value where tenant_id = $1 and name = $2 and version = $3 and state = 'replaced'`,
  ({ tenantId, name, version }) => [tenantId, name, version],
)

export const nextVersion = one<Key, { last_version: number }>(
  'secrets.next_version',
  `update secret_ref set last_version = last_version + 1 where tenant_id = $1 and name = $2
   returning last_version`,
  ({ tenantId, name }) => [tenantId, name],
)

export type Place = Pick<SealedRow, 'tenant_id' | 'name' | 'version'>

/** Of all workspaces, because the key-encryption key is the hub's. A row that somebody writes now is left for later. */
export const sealedByOthers = many<
  { readonly keyId: string; readonly after: Place | undefined; readonly limit: number },
  SealedRow
>(
  'secrets.values_to_rewrap',
  `select tenant_id, name, version, sealed from secret_value
   where key_id <> $1 and ($2::uuid is null or (tenant_id, name, version) > ($2, $3, $4))
   order by tenant_id, name, version limit $5 for update skip locked`,
  ({ keyId, after, limit }) => [
    keyId,
    after?.tenant_id ?? null,
    after?.name ?? null,
    after?.version ?? null,
    limit,
  ],
)

export const replaceSealed = run<
  Key & { readonly version: number; readonly sealed: Buffer; readonly keyId: string }
>(
  'secrets.rewrap_value',
  `update secret_value set sealed = $4, key_id = $5 where tenant_id = $1 and name = $2 and version = $3`,
  ({ tenantId, name, version, sealed, keyId }) => [tenantId, name, version, sealed, keyId],
)

export const countByOthers = one<{ readonly keyId: string }, { count: number }>(
  'secrets.count_to_rewrap',
  'select count(*) as count from secret_value where key_id <> $1',
  ({ keyId }) => [keyId],
)

/** One value of each key-encryption key in use. */
export const oneOfEachKey = many<Record<string, never>, SealedRow>(
  'secrets.one_of_each_key',
  `with recursive used as (
     select min(key_id) as key_id from secret_value
     union all
     select (select min(key_id) from secret_value v where v.key_id > used.key_id)
     from used where used.key_id is not null
   )
   select v.tenant_id, v.name, v.version, v.sealed from used
   cross join lateral (select * from secret_value s where s.key_id = used.key_id limit 1) v`,
  () => [],
)
