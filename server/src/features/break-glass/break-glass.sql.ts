import { many, maybeOne, one, run } from '../../platform/db/statement.ts'
import type { Environment } from '../workspaces/workspaces.ts'

export interface SessionRow {
  readonly id: string
  readonly environment: Environment
  readonly subject: string
  readonly reason: string
  readonly ticket: string
  readonly ip: string
  readonly started_at: Date
  readonly expires_at: Date
  readonly ended_at: Date | null
  readonly ended_by: string | null
  readonly reviewed_at: Date | null
  readonly reviewed_by: string | null
  readonly review: string | null
}

const COLUMNS = `id, environment, subject, reason, ticket, ip, started_at, expires_at, ended_at, ended_by, reviewed_at,
  reviewed_by, review`

export const insertSession = one<
  Pick<SessionRow, 'id' | 'environment' | 'subject' | 'reason' | 'ticket' | 'ip'> & {
    readonly seconds: number
  },
  SessionRow
>(
  'break_glass.insert',
  `insert into break_glass_session (id, environment, subject, reason, ticket, ip, expires_at)
   values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7)) returning ${COLUMNS}`,
  ({ id, environment, subject, reason, ticket, ip, seconds }) => [
    ...[id, environment, subject, reason, ticket, ip, seconds],
  ],
)

export const insertToken = run<{
  readonly sha256: Buffer
  readonly sessionId: string
  readonly workspaceId: string | null
}>(
  'break_glass.insert_token',
  'insert into break_glass_token (sha256, session_id, workspace_id) values ($1, $2, $3)',
  ({ sha256, sessionId, workspaceId }) => [sha256, sessionId, workspaceId],
)

export interface LivingRow {
  readonly id: string
  readonly subject: string
  readonly workspace_id: string | null
  readonly created_at: Date
  readonly expires_at: Date
}

/** Asked for every request: the database's clock ends a session in its middle. */
export const findLiving = maybeOne<{ readonly sha256: Buffer }, LivingRow>(
  'break_glass.find_living',
  `select s.id, s.subject, t.workspace_id, t.created_at, s.expires_at
   from break_glass_token t join break_glass_session s on s.id = t.session_id
   where t.sha256 = $1 and s.ended_at is null and s.expires_at > now()`,
  ({ sha256 }) => [sha256],
)

/** Gives nothing when it has ended already. */
export const endSession = maybeOne<{ readonly id: string; readonly by: string }, SessionRow>(
  'break_glass.end',
  `update break_glass_session set ended_at = now(), ended_by = $2
   where id = $1 and ended_at is null and expires_at > now() returning ${COLUMNS}`,
  ({ id, by }) => [id, by],
)

/** All that live of one operator. */
export const endSessionsOf = many<{ readonly subject: string; readonly by: string }, SessionRow>(
  'break_glass.end_of',
  `update break_glass_session set ended_at = now(), ended_by = $2
   where subject = $1 and ended_at is null and expires_at > now() returning ${COLUMNS}`,
  ({ subject, by }) => [subject, by],
)

/** One whose time is over and that nobody has told of; of two processes that ask, one gets it. */
export const endOverdue = maybeOne<{ readonly environment: Environment; readonly by: string }, SessionRow>(
  'break_glass.end_overdue',
  `update break_glass_session set ended_at = expires_at, ended_by = $2
   where id = (select id from break_glass_session
               where environment = $1 and ended_at is null and expires_at <= now()
               order by expires_at limit 1 for update skip locked)
   returning ${COLUMNS}`,
  ({ environment, by }) => [environment, by],
)

export const findSession = maybeOne<{ readonly id: string }, SessionRow>(
  'break_glass.find',
  `select ${COLUMNS} from break_glass_session where id = $1`,
  ({ id }) => [id],
)

export const lockSession = maybeOne<{ readonly id: string }, SessionRow & { readonly living: boolean }>(
  'break_glass.lock',
  `select ${COLUMNS}, ended_at is null and expires_at > now() as living
   from break_glass_session where id = $1 for update`,
  ({ id }) => [id],
)

export const reviewSession = one<
  { readonly id: string; readonly by: string; readonly review: string },
  SessionRow
>(
  'break_glass.review',
  `update break_glass_session set reviewed_at = now(), reviewed_by = $2, review = $3
   where id = $1 returning ${COLUMNS}`,
  ({ id, by, review }) => [id, by, review],
)

/** Newest first. */
export const listSessions = many<
  {
    readonly beforeId?: string | undefined
    readonly reviewed?: boolean | undefined
    readonly limit: number
  },
  SessionRow
>(
  'break_glass.list',
  `select ${COLUMNS} from break_glass_session
   where ($1::uuid is null or id < $1) and ($2::boolean is null or (reviewed_at is not null) = $2)
   order by id desc limit $3`,
  ({ beforeId, reviewed, limit }) => [beforeId ?? null, reviewed ?? null, limit],
)

/** One event in every workspace of the hub: its Admins must hear before anything else is possible. */
export const tellEveryWorkspace = run<{
  readonly environment: string
  readonly type: string
  readonly message: string
  readonly requestId: string
  readonly correlationId: string
  readonly traceId: string
  readonly data: unknown
}>(
  'break_glass.tell',
  `select append_events(json_agg(json_build_object(
     'tenant_id', id, 'type', $2::text, 'severity', 'error', 'message', $3::text, 'request_id', $4::text,
     'correlation_id', $5::text, 'trace_id', $6::text, 'data', $7::json)))
   from workspace where environment = $1 having count(*) > 0`,
  ({ environment, type, message, requestId, correlationId, traceId, data }) => [
    environment,
    type,
    message,
    requestId,
    correlationId,
    traceId,
    JSON.stringify(data),
  ],
)
