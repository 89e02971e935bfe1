import type { Queryable } from '../../platform/db/statement.ts'
import type { ProblemDetail } from '../../problems.ts'
import { quotaFault } from '../workspaces/workspaces.ts'
import type { ConfigDocument } from './document.ts'

/** Quotas that stand in the way of a document, told before anybody tries. `stored` = it takes no new version. */
export async function quotaFaultsOf(
  on: Queryable,
  tenantId: string,
  document: ConfigDocument,
  { stored }: { readonly stored: boolean },
): Promise<ProblemDetail[]> {
  const total = Object.keys(document.connectors).length
  const connectors = await quotaFault(on, { tenantId, quota: 'connectors', total })
  const versions = stored ? undefined : await quotaFault(on, { tenantId, quota: 'config_versions' })
  return [
    ...(connectors === undefined ? [] : [{ path: '/connectors', message: `are too many: ${connectors}` }]),
    ...(versions === undefined
      ? []
      : [{ path: '', message: `has no room as one more config version: ${versions}` }]),
  ]
}
