import { many, maybeOne, run } from '../../platform/db/statement.ts'

interface OfOperator {
  readonly operatorId: string
}

export interface SecretsRow {
  readonly totp_sealed: Buffer | null
  readonly totp_pending: Buffer | null
  readonly totp_step: number
}

export const findSecrets = maybeOne<OfOperator, SecretsRow>(
  'operators.second_factor',
  'select totp_sealed, totp_pending, totp_step from operator where id = $1',
  ({ operatorId }) => [operatorId],
)

/** Touches no row when this step, or a later one, was accepted meanwhile. */
export const takeStep = run<OfOperator & { readonly step: number }>(
  'operators.take_totp_step',
  'update operator set totp_step = $2 where id = $1 and totp_step < $2',
  ({ operatorId, step }) => [operatorId, step],
)

export const setPending = run<OfOperator & { readonly sealed: Buffer }>(
  'operators.set_pending_totp',
  'update operator set totp_pending = $2 where id = $1',
  ({ operatorId, sealed }) => [operatorId, sealed],
)

/** Touches no row when another secret is pending by now, or the step was used. */
export const confirmPending = run<OfOperator & { readonly sealed: Buffer; readonly step: number }>(
  'operators.confirm_totp',
  `update operator set totp_sealed = totp_pending, totp_pending = null, totp_step = $3
   where id = $1 and totp_pending = $2 and totp_step < $3`,
  ({ operatorId, sealed, step }) => [operatorId, sealed, step],
)

export const removeSecret = run<OfOperator>(
  'operators.remove_totp',
  `with codes as (delete from operator_recovery_code where operator_id = $1)
   update operator set totp_sealed = null, totp_pending = null where id = $1 and totp_sealed is not null`,
  ({ operatorId }) => [operatorId],
)

export const replaceRecoveryCodes = run<OfOperator & { readonly hashes: readonly Buffer[] }>(
  'operators.replace_recovery_codes',
  `with gone as (delete from operator_recovery_code where operator_id = $1 and code_sha256 <> all ($2::bytea[]))
   insert into operator_recovery_code (operator_id, code_sha256) select $1, unnest($2::bytea[])`,
  ({ operatorId, hashes }) => [operatorId, hashes],
)

/** Touches no row when it is no code of theirs or was used: of two at once, one wins. */
export const useRecoveryCode = run<OfOperator & { readonly hash: Buffer }>(
  'operators.use_recovery_code',
  `update operator_recovery_code set used_at = now()
   where operator_id = $1 and code_sha256 = $2 and used_at is null`,
  ({ operatorId, hash }) => [operatorId, hash],
)

export const countRecoveryCodes = maybeOne<OfOperator, { readonly left: number }>(
  'operators.count_recovery_codes',
  'select count(*) as left from operator_recovery_code where operator_id = $1 and used_at is null',
  ({ operatorId }) => [operatorId],
)

export const listSealed = many<
  Record<string, never>,
  Pick<SecretsRow, 'totp_sealed' | 'totp_pending'> & { id: string }
>(
  'operators.list_sealed',
  'select id, totp_sealed, totp_pending from operator where totp_sealed is not null or totp_pending is not null',
  () => [],
)

/** Compared with what was read, so that a secret that was changed meanwhile is not brought back. */
export const replaceSealed = run<OfOperator & { readonly before: Buffer; readonly after: Buffer }>(
  'operators.replace_sealed',
  `update operator set totp_sealed = case when totp_sealed = $2 then $3 else totp_sealed end,
     totp_pending = case when totp_pending = $2 then $3 else totp_pending end
   where id = $1 and (totp_sealed = $2 or totp_pending = $2)`,
  ({ operatorId, before, after }) => [operatorId, before, after],
)
