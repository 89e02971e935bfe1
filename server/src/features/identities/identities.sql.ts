import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

export interface IdentityRow {
  readonly tenant_id: string
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly created_at: Date
  readonly created_by: string | null
  readonly last_used_at: Date | null
  readonly previous_secret_until: Date | null
  readonly revoked_at: Date | null
  readonly expires_at: Date | null
  readonly expired: boolean
  readonly certificate_bound: boolean
  readonly certificate_sha256: string | null
  readonly token_epoch: number
}

interface Key {
  readonly tenantId: string
  readonly id: string
}

/** What of an identity can be changed. */
export interface Settings {
  readonly scopes: readonly string[]
  readonly expiresAt: Date | null
  readonly certificateBound: boolean
  readonly certificateSha256: string | null
}

/** Never the hashes: only `findCredentials` reads them. A previous secret whose time is over is as good as none. */
const COLUMNS = `tenant_id, id, name, scopes, created_at, created_by, last_used_at,
  case when previous_secret_until > now() then previous_secret_until end as previous_secret_until, revoked_at,
  expires_at, certificate_bound, certificate_sha256, token_epoch, coalesce(expires_at <= now(), false) as expired`

export const insertIdentity = one<
  Key & Settings & { readonly name: string; readonly secretSha256: Buffer; readonly createdBy: string },
  IdentityRow
>(
  'identities.insert',
  `insert into service_identity
     (tenant_id, id, name, scopes, expires_at, certificate_bound, certificate_sha256, secret_sha256,
      created_by)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning ${COLUMNS}`,
  ({ name, secretSha256, createdBy, ...rest }) => [
    rest.tenantId,
    rest.id,
    name,
    rest.scopes,
    rest.expiresAt,
    rest.certificateBound,
    rest.certificateSha256,
    secretSha256,
    createdBy,
  ],
)

/** Locked, so that two changes at once cannot both judge by the state before them. */
export const lockIdentity = maybeOne<Key, IdentityRow>(
  'identities.lock',
  `select ${COLUMNS} from service_identity where tenant_id = $1 and id = $2 for update`,
  ({ tenantId, id }) => [tenantId, id],
)

/** Gives nothing when it is revoked or does not exist. */
export const updateSettings = maybeOne<Key & Settings, IdentityRow>(
  'identities.update',
  `update service_identity
   set scopes = $3, expires_at = $4, certificate_bound = $5, certificate_sha256 = $6
   where tenant_id = $1 and id = $2 and revoked_at is null returning ${COLUMNS}`,
  ({ tenantId, id, scopes, expiresAt, certificateBound, certificateSha256 }) => [
    tenantId,
    id,
    scopes,
    expiresAt,
    certificateBound,
    certificateSha256,
  ],
)

/** Tokens that are issued from now on belong to another epoch; gives the one that ends. */
export const nextEpoch = one<Key, { ended: number }>(
  'identities.next_epoch',
  `update service_identity set token_epoch = token_epoch + 1
   where tenant_id = $1 and id = $2 returning token_epoch - 1 as ended`,
  ({ tenantId, id }) => [tenantId, id],
)

export const findIdentity = maybeOne<Key, IdentityRow>(
  'identities.find',
  `select ${COLUMNS} from service_identity where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

/** Newest first. */
export const listRows = many<
  { readonly tenantId: string; readonly beforeId?: string | undefined; readonly limit: number },
  IdentityRow
>(
  'identities.list',
  `select ${COLUMNS} from service_identity
   where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3`,
  ({ tenantId, beforeId, limit }) => [tenantId, beforeId ?? null, limit],
)

/**
 * By the name that was its alone since it was made: an active identity has no namesake. What an older one of that name
 * has made is older.
 */
export const listMadeBy = many<
  Key & { readonly name: string; readonly since: Date; readonly limit: number },
  { id: string; name: string }
>(
  'identities.made_by',
  `select id, name from service_identity
   where tenant_id = $1 and created_by = $2 and created_at >= $3 and id <> $4 and revoked_at is null
   order by id limit $5`,
  ({ tenantId, id, name, since, limit }) => [tenantId, name, since, id, limit],
)

/** Gives nothing when it is revoked already or does not exist. Its secrets are gone for good. */
export const revokeRow = maybeOne<Key, IdentityRow>(
  'identities.revoke',
  `update service_identity
   set revoked_at = now(), previous_secret_sha256 = null, previous_secret_until = null
   where tenant_id = $1 and id = $2 and revoked_at is null returning ${COLUMNS}`,
  ({ tenantId, id }) => [tenantId, id],
)

/** The present secret becomes the previous one; one that was still accepted besides it ends now. */
export const replaceSecret = maybeOne<
  Key & { readonly secretSha256: Buffer; readonly overlapSeconds: number },
  IdentityRow
>(
  'identities.replace_secret',
  `update service_identity set
     secret_sha256 = $3,
     previous_secret_sha256 = case when $4::int > 0 then secret_sha256 end,
     previous_secret_until = case when $4::int > 0 then now() + make_interval(secs => $4::int) end
   where tenant_id = $1 and id = $2 and revoked_at is null returning ${COLUMNS}`,
  ({ tenantId, id, secretSha256, overlapSeconds }) => [tenantId, id, secretSha256, overlapSeconds],
)

export interface CredentialsRow {
  readonly tenant_id: string
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly token_epoch: number
  readonly certificate_bound: boolean
  readonly certificate_sha256: string | null
  /** Whole seconds until it expires; null = never. */
  readonly seconds_left: number | null
  readonly secret_sha256: Buffer
  readonly previous_secret_sha256: Buffer | null
}

/** The one statement without a workspace: the token endpoint knows only the client id, and the workspace comes from here. */
export const findCredentials = maybeOne<{ readonly id: string }, CredentialsRow>(
  'identities.credentials',
  `select tenant_id, id, name, scopes, token_epoch, certificate_bound, certificate_sha256, secret_sha256,
     floor(extract(epoch from expires_at - now()))::int as seconds_left,
     case when previous_secret_until > now() then previous_secret_sha256 end as previous_secret_sha256
   from service_identity where id = $1 and revoked_at is null and (expires_at is null or expires_at > now())`,
  ({ id }) => [id],
)

/** At most one write a minute for each identity, however many tokens it asks for. */
export const touchIdentity = run<Key>(
  'identities.touch',
  `update service_identity set last_used_at = now()
   where tenant_id = $1 and id = $2
     and (last_used_at is null or last_used_at < now() - interval '1 minute')`,
  ({ tenantId, id }) => [tenantId, id],
)
