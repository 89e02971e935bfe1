import { many, maybeOne, one } from '../../platform/db/statement.ts'

export interface ImpersonationRow {
  readonly id: string
  readonly token_id: string
  readonly impersonator: string
  readonly subject: string
  readonly read_only: boolean
  readonly reason: string
  readonly started_at: Date
  readonly expires_at: Date
  readonly ended_at: Date | null
  readonly ended_by: string | null
}

interface Key {
  readonly tenantId: string
  readonly id: string
}

const COLUMNS =
  'id, token_id, impersonator, subject, read_only, reason, started_at, expires_at, ended_at, ended_by'

export const insertImpersonation = one<
  Key & {
    readonly tokenId: string
    readonly impersonator: string
    readonly subject: string
    readonly readOnly: boolean
    readonly reason: string
    readonly seconds: number
  },
  ImpersonationRow
>(
  'impersonation.insert',
  `insert into impersonation (tenant_id, id, token_id, impersonator, subject, read_only, reason, expires_at)
   values ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8))
   returning ${COLUMNS}`,
  ({ tenantId, id, tokenId, impersonator, subject, readOnly, reason, seconds }) => [
    tenantId,
    id,
    tokenId,
    impersonator,
    subject,
    readOnly,
    reason,
    seconds,
  ],
)

export const findImpersonation = maybeOne<Key, ImpersonationRow>(
  'impersonation.find',
  `select ${COLUMNS} from impersonation where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

/** Gives nothing when it has ended already, by itself or by somebody. */
export const endImpersonation = maybeOne<Key & { readonly by: string }, ImpersonationRow>(
  'impersonation.end',
  `update impersonation set ended_at = now(), ended_by = $3
   where tenant_id = $1 and id = $2 and ended_at is null and expires_at > now() returning ${COLUMNS}`,
  ({ tenantId, id, by }) => [tenantId, id, by],
)

/** Newest first. */
export const listImpersonations = many<
  { readonly tenantId: string; readonly beforeId?: string | undefined; readonly limit: number },
  ImpersonationRow
>(
  'impersonation.list',
  `select ${COLUMNS} from impersonation
   where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3`,
  ({ tenantId, beforeId, limit }) => [tenantId, beforeId ?? null, limit],
)
