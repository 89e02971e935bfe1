import {
  deleteSecretRef,
  listSecretRefs,
  putSecretRef,
  refFault,
  type UsersOfSecret,
} from '../secrets/secrets.ts'
import type { BundleSecrets, SecretPlace } from './bundle-deps.ts'

const PAGE = 200

/** The secret refs of a workspace, as bundles need them. */
export const secretPlaces = ({
  usersOfSecret,
  unresolved,
}: {
  readonly usersOfSecret: UsersOfSecret
  readonly unresolved: BundleSecrets['unresolved']
}): BundleSecrets => ({
  refFault,
  unresolved,
  put: putSecretRef,
  remove: (db, secret, change) => deleteSecretRef({ db, usersOfSecret }, secret, change),
  list: async (on, tenantId) => {
    const places: SecretPlace[] = []
    for (let full = true; full; ) {
      const page = await listSecretRefs(on, { tenantId, afterName: places.at(-1)?.name, limit: PAGE })
      places.push(...page.map(({ name, ref }) => ({ name, ref })))
      full = page.length === PAGE
    }
    return places
  },
})
