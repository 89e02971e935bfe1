import { many, maybeOne, one } from '../../platform/db/statement.ts'

export interface ImpersonationRow {
  readonly tenant_id: string
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
  /** Neither ended nor over. */
  readonly active: boolean
}

interface Key {
  readonly tenantId: string
  readonly id: string
}

const LIVING = 'ended_at is null and expires_at > clock_timestamp()'
const COLUMNS = `tenant_id, id, token_id, impersonator, subject, read_only, reason, started_at, expires_at, ended_at,
  ended_by, ${LIVING} as active`

export const insertImpersonation = one<
  Key & {
    readonly tokenId: string
    readonly sessionId: string | undefined
    readonly impersonator: string
    readonly subject: string
    readonly readOnly: boolean
    readonly reason: string
    readonly seconds: number
  },
  ImpersonationRow
>(
  'impersonation.insert',
  `insert into impersonation (tenant_id, id, token_id, session_id, impersonator, subject, read_only, reason, expires_at)
   values ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9))
   returning ${COLUMNS}`,
  ({ tenantId, id, tokenId, sessionId, impersonator, subject, readOnly, reason, seconds }) => [
    tenantId,
    id,
    tokenId,
    sessionId ?? null,
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
  `update impersonation set ended_at = clock_timestamp(), ended_by = $3
   where tenant_id = $1 and id = $2 and ${LIVING} returning ${COLUMNS}`,
  ({ tenantId, id, by }) => [tenantId, id, by],
)

/** Of all workspaces: a session reaches over them. */
export const endOfSessions = many<
  { readonly sessionIds: readonly string[]; readonly by: string },
  ImpersonationRow
>(
  'impersonation.end_of_sessions',
  `update impersonation set ended_at = clock_timestamp(), ended_by = $2
   where session_id = any($1) and ${LIVING} returning ${COLUMNS}`,
  ({ sessionIds, by }) => [sessionIds, by],
)

/** By this person and as this person; in one workspace, or in all of them for what is about the whole account. */
export const endOfPerson = many<
  { readonly subject: string; readonly tenantId: string | null; readonly by: string },
  ImpersonationRow
>(
  'impersonation.end_of_person',
  `update impersonation set ended_at = clock_timestamp(), ended_by = $3
   where ($2::uuid is null or tenant_id = $2) and $1 in (subject, impersonator) and ${LIVING} returning ${COLUMNS}`,
  ({ subject, tenantId, by }) => [subject, tenantId, by],
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
