import type { Tx } from '../../platform/db/statement.ts'
import { setLaneCaps, setTenantShare } from '../../queue/lane-policy.ts'
import { effectivePolicy } from '../policies/policies.ts'
import { type ConfigDocument, DEFAULT_POLICY } from './document.ts'
import { connectorLanes } from './lanes.ts'

/**
 * Gives the caps and the share of a config to the queue, in the transaction that activates it: a claim needs them as rows. A
 * connector that is not in the config any more has no cap.
 */
export async function applyCaps(tx: Tx, tenantId: string, document: ConfigDocument): Promise<void> {
  const workspace = document.policies[DEFAULT_POLICY]
  const capOf = (name: string): number | null => {
    const config = Object.hasOwn(document.connectors, name) ? document.connectors[name] : undefined
    if (config === undefined) return null
    const own = config.policy === undefined ? undefined : document.policies[config.policy]
    const levels = { ...(workspace && { workspace }), ...(own && { connector: own }) }
    return effectivePolicy(levels).policy.concurrency.max_running
  }
  const lanes = await connectorLanes(tx, tenantId)
  await setLaneCaps(tx, {
    tenantId,
    caps: [...lanes].map(([name, lane]) => ({ lane, max_running: capOf(name) })),
  })
  const { workspace_max_running, workspace_weight } = effectivePolicy({
    ...(workspace && { workspace }),
  }).policy.concurrency
  await setTenantShare(tx, { tenantId, maxRunning: workspace_max_running, weight: workspace_weight })
}
