/** Where the deliveries of webhooks go, by the active config. Wiring only. */
import type { ActiveConfig, ActiveConfigs } from '../features/configs/configs.ts'
import type { DeliveryTarget } from '../features/webhooks/webhooks.ts'

const targetIn = (config: ActiveConfig, name: string): DeliveryTarget | undefined => {
  const active = config.connectors.get(name)
  if (active?.connector.kind !== 'callback') return undefined
  return { lane: active.connector.lane, configVersion: active.configVersion }
}

/** The lane of a connector of kind callback that this hub can use; undefined = there is none. */
export const deliveryTargets =
  (activeConfigs: Pick<ActiveConfigs, 'get'>) =>
  async (tenantId: string, name: string): Promise<DeliveryTarget | undefined> =>
    targetIn(await activeConfigs.get(tenantId, [name]), name)

/**
 * The same without a look at the database for a connector that is missing: as memory has it, which hears of a new
 * config at once and at the latest after a few seconds.
 */
export const knownDeliveryTargets =
  (activeConfigs: Pick<ActiveConfigs, 'get'>) =>
  async (tenantId: string, name: string): Promise<DeliveryTarget | undefined> =>
    targetIn(await activeConfigs.get(tenantId), name)
