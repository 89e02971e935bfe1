import { type BlastDeps, blastRadius } from './blast-radius.ts'
import { faultsOf, secretFaultsOf } from './check-config.ts'
import type { Validation } from './configs.schema.ts'
import type { ConfigDocument } from './document.ts'

/** What the activation of a document would answer and touch. Changes nothing. */
export async function validateConfig(
  deps: BlastDeps,
  tenantId: string,
  document: ConfigDocument,
): Promise<Validation> {
  const faults = [
    ...(await faultsOf(deps, deps.db, tenantId, document)),
    ...(await secretFaultsOf(deps, tenantId, document)),
  ]
  return { valid: faults.length === 0, faults, ...(await blastRadius(deps, tenantId, document)) }
}
