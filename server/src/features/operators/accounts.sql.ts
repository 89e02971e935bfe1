import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

export interface OperatorRow {
  readonly id: string
  readonly email: string
  readonly name: string
  readonly has_password: boolean
  readonly has_second_factor: boolean
  readonly locked_at: Date | null
  readonly created_at: Date
}

/** Never the hash or a secret: only the statements that need them read them. */
export const OPERATOR_COLUMNS = `o.id, o.email, o.name, o.password_hash is not null as has_password,
  o.totp_sealed is not null as has_second_factor, o.locked_at, o.created_at`

export const insertOperator = one<
  {
    readonly id: string
    readonly email: string
    readonly name: string
    readonly passwordHash: string | null
  },
  OperatorRow
>(
  'operators.insert',
  `insert into operator as o (id, email, name, password_hash, password_changed_at)
   values ($1, $2, $3, $4, case when $4::text is not null then now() end) returning ${OPERATOR_COLUMNS}`,
  ({ id, email, name, passwordHash }) => [id, email, name, passwordHash],
)

export const findOperatorRow = maybeOne<{ readonly id: string }, OperatorRow>(
  'operators.find',
  `select ${OPERATOR_COLUMNS} from operator o where o.id = $1`,
  ({ id }) => [id],
)

export const findByEmail = maybeOne<{ readonly email: string }, OperatorRow>(
  'operators.find_by_email',
  `select ${OPERATOR_COLUMNS} from operator o where o.email = $1`,
  ({ email }) => [email],
)

/** What is needed to try a password; nothing else reads the hash. */
export const findForSignOn = maybeOne<
  { readonly email: string },
  OperatorRow & { readonly password_hash: string | null }
>(
  'operators.find_for_sign_on',
  `select ${OPERATOR_COLUMNS}, o.password_hash from operator o where o.email = $1`,
  ({ email }) => [email],
)

/** In the order of their making. */
export const listOperatorRows = many<
  { readonly afterId?: string | undefined; readonly limit: number },
  OperatorRow
>(
  'operators.list',
  `select ${OPERATOR_COLUMNS} from operator o where ($1::uuid is null or o.id > $1) order by o.id limit $2`,
  ({ afterId, limit }) => [afterId ?? null, limit],
)

export const setPassword = run<{ readonly id: string; readonly passwordHash: string }>(
  'operators.set_password',
  'update operator set password_hash = $2, password_changed_at = now() where id = $1',
  ({ id, passwordHash }) => [id, passwordHash],
)

/** Gives nothing when it is so already, or there is no such operator. */
export const setLocked = maybeOne<{ readonly id: string; readonly locked: boolean }, OperatorRow>(
  'operators.set_locked',
  `update operator as o set locked_at = case when $2 then now() end
   where o.id = $1 and (o.locked_at is not null) <> $2 returning ${OPERATOR_COLUMNS}`,
  ({ id, locked }) => [id, locked],
)

export const insertLink = run<{
  readonly issuer: string
  readonly subject: string
  readonly operatorId: string
}>(
  'operators.link',
  'insert into operator_link (issuer, subject, operator_id) values ($1, $2, $3)',
  ({ issuer, subject, operatorId }) => [issuer, subject, operatorId],
)

export const findLinked = maybeOne<{ readonly issuer: string; readonly subject: string }, OperatorRow>(
  'operators.find_linked',
  `select ${OPERATOR_COLUMNS} from operator o join operator_link l on l.operator_id = o.id
   where l.issuer = $1 and l.subject = $2`,
  ({ issuer, subject }) => [issuer, subject],
)

/**
 * An account that may sign on; whoever else changes it waits until the transaction ends. Taken before its sessions, as
 * everywhere, so that two never wait for each other.
 */
export const holdUnlocked = maybeOne<{ readonly id: string }, OperatorRow>(
  'operators.hold_unlocked',
  `select ${OPERATOR_COLUMNS} from operator o where o.id = $1 and o.locked_at is null for no key update of o`,
  ({ id }) => [id],
)
