import { many, run } from '../../platform/db/statement.ts'

export interface EndedTokenRow {
  readonly tenant_id: string
  readonly subject: string | null
  readonly session_id: string | null
  readonly token_id: string | null
  readonly ended_at: Date
}

export const insertEnded = run<{
  readonly tenantId: string
  readonly id: string
  readonly subject: string | undefined
  readonly sessionId: string | undefined
  readonly tokenId: string | undefined
}>(
  'ended_tokens.insert',
  'insert into ended_token (tenant_id, id, subject, session_id, token_id) values ($1, $2, $3, $4, $5)',
  ({ tenantId, id, subject, sessionId, tokenId }) => [
    tenantId,
    id,
    subject ?? null,
    sessionId ?? null,
    tokenId ?? null,
  ],
)

/** Of all workspaces, because every process serves all of them. */
export const listEnded = many<{ readonly since: Date }, EndedTokenRow>(
  'ended_tokens.list',
  `select tenant_id, subject, session_id, token_id, ended_at from ended_token
   where ended_at >= $1 order by ended_at`,
  ({ since }) => [since],
)

/** Of all workspaces. Several processes may do it at once. */
export const deleteOld = run<{ readonly keptSeconds: number }>(
  'ended_tokens.delete_old',
  `delete from ended_token where (tenant_id, id) in (
     select tenant_id, id from ended_token
     where ended_at < now() - make_interval(secs => $1) limit 1000 for update skip locked)`,
  ({ keptSeconds }) => [keptSeconds],
)
