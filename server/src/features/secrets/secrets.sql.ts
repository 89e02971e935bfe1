import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

export interface SecretRefRow {
  readonly name: string
  readonly ref: string
  readonly created_at: Date
  readonly updated_at: Date
}

interface Key {
  readonly tenantId: string
  readonly name: string
}

const COLUMNS = 'name, ref, created_at, updated_at'

export const findRef = maybeOne<Key, SecretRefRow>(
  'secrets.find',
  `select ${COLUMNS} from secret_ref where tenant_id = $1 and name = $2`,
  ({ tenantId, name }) => [tenantId, name],
)

/** By name. */
export const listRows = many<
  { readonly tenantId: string; readonly afterName?: string | undefined; readonly limit: number },
  SecretRefRow
>(
  'secrets.list',
  `select ${COLUMNS} from secret_ref
   where tenant_id = $1 and ($2::text is null or name collate "C" > $2)
   order by name collate "C" limit $3`,
  ({ tenantId, afterName, limit }) => [tenantId, afterName ?? null, limit],
)

export const listNames = many<{ readonly tenantId: string }, Pick<SecretRefRow, 'name'>>(
  'secrets.names',
  'select name from secret_ref where tenant_id = $1',
  ({ tenantId }) => [tenantId],
)

export const upsertRef = one<Key & { readonly ref: string }, SecretRefRow>(
  'secrets.put',
  `insert into secret_ref (tenant_id, name, ref) values ($1, $2, $3)
   on conflict (tenant_id, name) do update set ref = excluded.ref, updated_at = now()
   returning ${COLUMNS}`,
  ({ tenantId, name, ref }) => [tenantId, name, ref],
)

export const deleteRow = run<Key>(
  'secrets.delete',
  'delete from secret_ref where tenant_id = $1 and name = $2',
  ({ tenantId, name }) => [tenantId, name],
)
