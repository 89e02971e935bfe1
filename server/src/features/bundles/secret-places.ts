import { everyRow } from '../../platform/db/every-row.ts'
import {
  deleteSecretRef,
  listSecretRefs,
  putSecretRef,
  refFault,
  type SecretRef,
  type UsersOfSecret,
} from '../secrets/secrets.ts'
import type { BundleSecrets, SecretPlace } from './bundle-deps.ts'

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
    for await (const { name, ref } of everyRow<SecretRef>((last, limit) =>
      listSecretRefs(on, { tenantId, afterName: last?.name, limit }),
    ))
      places.push({ name, ref })
    return places
  },
})
