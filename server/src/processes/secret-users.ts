import { activeDocument } from '../features/configs/configs.ts'
import type { UsersOfSecret } from '../features/secrets/secrets.ts'
import { routesOfSecret } from '../features/webhook-routes/webhook-routes.ts'

/** Everything of a workspace that would break without a secret ref, as `connector:stripe`, `webhook route:…`. */
export const usersOfSecret: UsersOfSecret = async (tx, { tenantId, name }) => {
  const { connectors } = await activeDocument(tx, tenantId)
  const users = Object.entries(connectors)
    .filter(([, { secrets = {} }]) => Object.values(secrets).includes(name))
    .map(([connector]) => `connector:${connector}`)
  return [...users, ...(await routesOfSecret(tx, tenantId, name))]
}
