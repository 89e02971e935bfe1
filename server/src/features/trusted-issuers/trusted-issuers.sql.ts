import { many, maybeOne, one } from '../../platform/db/statement.ts'

export interface TrustedIssuerRow {
  readonly tenant_id: string
  readonly id: string
  readonly name: string
  readonly issuer: string
  readonly jwks_url: string
  readonly scopes: readonly string[]
  readonly subjects: readonly string[] | null
  readonly epoch: number
  readonly created_at: Date
  readonly updated_at: Date
}

interface Key {
  readonly tenantId: string
  readonly id: string
}

interface Trust {
  readonly issuer: string
  readonly jwksUrl: string
  readonly scopes: readonly string[]
  readonly subjects: readonly string[] | null
}

const COLUMNS = 'tenant_id, id, name, issuer, jwks_url, scopes, subjects, epoch, created_at, updated_at'

/** Gives nothing when the workspace has `limit` of them already. */
export const insertIssuer = maybeOne<
  Key & Trust & { readonly name: string; readonly limit: number },
  TrustedIssuerRow
>(
  'trusted_issuers.insert',
  `insert into trusted_issuer (tenant_id, id, name, issuer, jwks_url, scopes, subjects)
   select $1, $2, $3, $4, $5, $6, $7
   where (select count(*) from trusted_issuer where tenant_id = $1) < $8
   returning ${COLUMNS}`,
  ({ tenantId, id, name, issuer, jwksUrl, scopes, subjects, limit }) => [
    tenantId,
    id,
    name,
    issuer,
    jwksUrl,
    scopes,
    subjects,
    limit,
  ],
)

export const findIssuer = maybeOne<Key, TrustedIssuerRow>(
  'trusted_issuers.find',
  `select ${COLUMNS} from trusted_issuer where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

export const lockIssuer = maybeOne<Key, TrustedIssuerRow>(
  'trusted_issuers.lock',
  `select ${COLUMNS} from trusted_issuer where tenant_id = $1 and id = $2 for update`,
  ({ tenantId, id }) => [tenantId, id],
)

/** Newest first. */
export const listRows = many<
  { readonly tenantId: string; readonly beforeId?: string | undefined; readonly limit: number },
  TrustedIssuerRow
>(
  'trusted_issuers.list',
  `select ${COLUMNS} from trusted_issuer
   where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3`,
  ({ tenantId, beforeId, limit }) => [tenantId, beforeId ?? null, limit],
)

export const updateIssuer = one<Key & Trust, TrustedIssuerRow>(
  'trusted_issuers.update',
  `update trusted_issuer
   set issuer = $3, jwks_url = $4, scopes = $5, subjects = $6, epoch = epoch + 1, updated_at = now()
   where tenant_id = $1 and id = $2 returning ${COLUMNS}`,
  ({ tenantId, id, issuer, jwksUrl, scopes, subjects }) => [tenantId, id, issuer, jwksUrl, scopes, subjects],
)

export const deleteIssuer = maybeOne<Key, TrustedIssuerRow>(
  'trusted_issuers.delete',
  `delete from trusted_issuer where tenant_id = $1 and id = $2 returning ${COLUMNS}`,
  ({ tenantId, id }) => [tenantId, id],
)

/** Of all workspaces: a process that verifies tokens serves all of them, and must not ask the database for each token. */
export const listAll = many<Record<string, never>, TrustedIssuerRow>(
  'trusted_issuers.list_all',
  `select ${COLUMNS} from trusted_issuer`,
  () => [],
)
