import { type BlastDeps, blastRadius } from './blast-radius.ts'
import { faultsOf, secretFaultsOf } from './check-config.ts'
import type { Validation } from './configs.schema.ts'
import type { ConfigDocument } from './document.ts'
import { quotaFaultsOf } from './quota-faults.ts'
import { reservedFaults } from './reserved-members.ts'
import { activeDocument } from './versions.ts'

/**
 * What the activation of a document would answer and touch. Changes nothing. `stored` = it is a version already and
 * takes no room among them.
 */
export async function validateConfig(
  deps: BlastDeps,
  tenantId: string,
  document: ConfigDocument,
  { stored = false }: { readonly stored?: boolean } = {},
): Promise<Validation> {
  const active = await activeDocument(deps.db, tenantId)
  const faults = [
    ...reservedFaults(active, document, ''),
    ...(await faultsOf(deps, deps.db, tenantId, document)),
    ...(await secretFaultsOf(deps, tenantId, document)),
    ...(await quotaFaultsOf(deps.db, tenantId, document, { stored })),
  ]
  return { valid: faults.length === 0, faults, ...(await blastRadius(deps, tenantId, document)) }
}
