import { maybeOne, one, run } from '../../platform/db/statement.ts'
import type { Quota, Quotas } from './quota-limits.ts'

interface QuotasRow {
  readonly quotas: Partial<Quotas>
}

export const selectQuotas = maybeOne<{ readonly tenantId: string }, QuotasRow>(
  'workspaces.quotas',
  'select quotas from workspace where id = $1',
  ({ tenantId }) => [tenantId],
)

/** Counts no further than `most`: a million waiting jobs are told from ten million by nobody. */
export const countUse = one<
  { readonly tenantId: string; readonly quota: Quota; readonly most: number },
  { readonly used: number }
>('workspaces.use', 'select workspace_use($1, $2, $3) as used', ({ tenantId, quota, most }) => [
  tenantId,
  quota,
  most,
])

export const updateQuotas = run<{ readonly tenantId: string; readonly quotas: Partial<Quotas> }>(
  'workspaces.set_quotas',
  'update workspace set quotas = $2 where id = $1',
  ({ tenantId, quotas }) => [tenantId, JSON.stringify(quotas)],
)
