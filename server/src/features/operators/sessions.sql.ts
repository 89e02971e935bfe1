import { many, maybeOne, run } from '../../platform/db/statement.ts'
import type { OperatorRole } from './role.ts'

export interface SessionRow {
  readonly id: string
  readonly operator_id: string
  readonly email: string
  readonly method: 'password' | 'oidc'
  readonly mfa: boolean
  readonly group_roles: readonly OperatorRole[]
  readonly created_at: Date
  readonly last_seen_at: Date
  readonly expires_at: Date
  readonly ip: string | null
  readonly user_agent: string | null
}

const COLUMNS = `s.id, s.operator_id, o.email, s.method, s.mfa, s.group_roles, s.created_at, s.last_seen_at,
  s.expires_at, s.ip, s.user_agent`

/** Live: not ended, not too old, used lately, and its operator is not locked. `$1` is now, `$2` the idle time in s. */
const LIVE = `s.ended_at is null and s.expires_at > $1 and o.locked_at is null
  and s.last_seen_at > $1::timestamptz - make_interval(secs => $2::int)`

interface Moment {
  readonly now: Date
  readonly idleSeconds: number
}

export const insertSession = run<{
  readonly id: string
  readonly operatorId: string
  readonly tokenSha256: Buffer
  readonly method: 'password' | 'oidc'
  readonly mfa: boolean
  readonly groupRoles: readonly OperatorRole[]
  readonly now: Date
  readonly expiresAt: Date
  readonly ip: string | null
  readonly userAgent: string | null
}>(
  'operators.insert_session',
  `insert into operator_session (id, operator_id, token_sha256, method, mfa, group_roles, created_at, last_seen_at,
     expires_at, ip, user_agent)
   values ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10)`,
  (row) => [
    row.id,
    row.operatorId,
    row.tokenSha256,
    row.method,
    row.mfa,
    JSON.stringify(row.groupRoles),
    row.now,
    row.expiresAt,
    row.ip,
    row.userAgent,
  ],
)

export const findByToken = maybeOne<Moment & { readonly tokenSha256: Buffer }, SessionRow>(
  'operators.session_of_token',
  `select ${COLUMNS} from operator_session s join operator o on o.id = s.operator_id
   where s.token_sha256 = $3 and ${LIVE}`,
  ({ now, idleSeconds, tokenSha256 }) => [now, idleSeconds, tokenSha256],
)

/** Until the transaction ends nobody else ends or replaces it. */
export const lockSession = maybeOne<Moment & { readonly id: string }, SessionRow>(
  'operators.lock_session',
  `select ${COLUMNS} from operator_session s join operator o on o.id = s.operator_id
   where s.id = $3 and ${LIVE} for update of s`,
  ({ now, idleSeconds, id }) => [now, idleSeconds, id],
)

export const findLive = maybeOne<Moment & { readonly id: string }, SessionRow>(
  'operators.find_session',
  `select ${COLUMNS} from operator_session s join operator o on o.id = s.operator_id
   where s.id = $3 and ${LIVE}`,
  ({ now, idleSeconds, id }) => [now, idleSeconds, id],
)

/** At most one write a minute, however much a session is used. */
export const touchSession = run<{ readonly id: string; readonly now: Date }>(
  'operators.touch_session',
  `update operator_session set last_seen_at = $2
   where id = $1 and last_seen_at < $2::timestamptz - interval '1 minute'`,
  ({ id, now }) => [id, now],
)

/** Newest first. A person has few. */
export const listLive = many<Moment & { readonly operatorId: string }, SessionRow>(
  'operators.sessions',
  `select ${COLUMNS} from operator_session s join operator o on o.id = s.operator_id
   where s.operator_id = $3 and ${LIVE} order by s.id desc limit 200`,
  ({ now, idleSeconds, operatorId }) => [now, idleSeconds, operatorId],
)

/** Ends one, or with null all of an operator, and gives which it was. */
export const endRows = many<
  { readonly operatorId: string; readonly id: string | null; readonly now: Date },
  { readonly id: string }
>(
  'operators.end_sessions',
  `update operator_session set ended_at = $3
   where operator_id = $1 and ($2::uuid is null or id = $2) and ended_at is null and expires_at > $3 returning id`,
  ({ operatorId, id, now }) => [operatorId, id, now],
)

/** What nobody can use any more and no list shows. */
export const deleteOldSessions = run<{ readonly before: Date }>(
  'operators.delete_old_sessions',
  'delete from operator_session where expires_at < $1',
  ({ before }) => [before],
)
