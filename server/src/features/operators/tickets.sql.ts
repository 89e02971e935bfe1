import { maybeOne, run } from '../../platform/db/statement.ts'

export type TicketKind = 'mfa' | 'oidc_state' | 'oidc_code'

export interface TicketRow {
  readonly operator_id: string | null
  readonly facts: Readonly<Record<string, unknown>>
  readonly sealed: Buffer | null
}

/** Clears away what has expired, too: there are few, and they live for minutes. */
export const insertTicket = run<{
  readonly tokenSha256: Buffer
  readonly kind: TicketKind
  readonly operatorId: string | null
  readonly facts: Readonly<Record<string, unknown>>
  readonly sealed: Buffer | null
  readonly now: Date
  readonly expiresAt: Date
}>(
  'operators.insert_ticket',
  `with expired as (delete from operator_ticket where expires_at < $6)
   insert into operator_ticket (token_sha256, kind, operator_id, facts, sealed, expires_at)
   values ($1, $2, $3, $4, $5, $7)`,
  ({ tokenSha256, kind, operatorId, facts, sealed, now, expiresAt }) => [
    tokenSha256,
    kind,
    operatorId,
    JSON.stringify(facts),
    sealed,
    now,
    expiresAt,
  ],
)

interface Key {
  readonly tokenSha256: Buffer
  readonly kind: TicketKind
}

/** Gives it once. */
export const takeTicket = maybeOne<Key & { readonly now: Date }, TicketRow>(
  'operators.take_ticket',
  `delete from operator_ticket where token_sha256 = $1 and kind = $2 and expires_at > $3
   returning operator_id, facts, sealed`,
  ({ tokenSha256, kind, now }) => [tokenSha256, kind, now],
)

/** Counts one of five tries. */
export const tryTicket = maybeOne<Key & { readonly now: Date }, TicketRow>(
  'operators.try_ticket',
  `update operator_ticket set tries = tries + 1
   where token_sha256 = $1 and kind = $2 and expires_at > $3 and tries < 5
   returning operator_id, facts, sealed`,
  ({ tokenSha256, kind, now }) => [tokenSha256, kind, now],
)

export const deleteTicketsOf = run<{ readonly operatorId: string }>(
  'operators.delete_tickets',
  'delete from operator_ticket where operator_id = $1',
  ({ operatorId }) => [operatorId],
)
