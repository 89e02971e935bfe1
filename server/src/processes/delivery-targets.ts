/** Where the deliveries of webhooks go, by the active config. Wiring only. */
import type { ActiveConfigs } from '../features/configs/configs.ts'
import type { DeliveryTarget } from '../features/webhooks/webhooks.ts'

/** The lane of a connector of kind callback that this hub can use; undefined = there is none. */
export const deliveryTargets =
  (activeConfigs: Pick<ActiveConfigs, 'get'>) =>
  async (tenantId: string, name: string): Promise<DeliveryTarget | undefined> => {
    const active = (await activeConfigs.get(tenantId, [name])).connectors.get(name)
    if (active?.connector.kind !== 'callback') return undefined
    return { lane: active.connector.lane, configVersion: active.configVersion }
  }
