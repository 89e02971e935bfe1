import type { Tx } from '../../platform/db/statement.ts'
import { setLaneCaps, setTenantShare } from '../../queue/lane-policy.ts'
import { effectivePolicy } from '../policies/policies.ts'
import type { ConfigDocument } from './document.ts'
import { connectorLanes } from './lanes.ts'
import { memberOf } from './members.ts'
import { policyLevels } from './policy-levels.ts'

/**
 * Gives the caps and the share of a config to the queue, in the transaction that activates it: a claim needs them as rows. A
 * connector that is not in the config any more has no cap.
 */
export async function applyCaps(tx: Tx, tenantId: string, document: ConfigDocument): Promise<void> {
  const capOf = (name: string): number | null => {
    const config = memberOf(document, 'connectors', name)
    return config ? effectivePolicy(policyLevels(document, config)).policy.concurrency.max_running : null
  }
  const lanes = await connectorLanes(tx, tenantId)
  await setLaneCaps(tx, {
    tenantId,
    caps: [...lanes].map(([name, lane]) => ({ lane, max_running: capOf(name) })),
  })
  const { workspace_max_running, workspace_weight } = effectivePolicy(policyLevels(document, {})).policy
    .concurrency
  await setTenantShare(tx, { tenantId, maxRunning: workspace_max_running, weight: workspace_weight })
}
