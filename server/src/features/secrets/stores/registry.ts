import { envStore } from './env.ts'
import { fileStore } from './file.ts'
import { hubStore } from './hub.ts'
import type { Found, Owner, ReadSecret, SecretStore, StoreOptions, Unresolved } from './store.ts'
import { vaultStore } from './vault.ts'

/** Every secret store: a new one is a file beside this one and a line here. The suite in stores.test.ts runs over all. */
export const SECRET_STORES: readonly SecretStore[] = [envStore, fileStore, hubStore, vaultStore]

/** Reads the values behind a whole ref for one workspace, newest first. */
export type ReadRef = (owner: Owner, ref: string) => Promise<Found | Unresolved>

const split = (ref: string): { store: SecretStore | undefined; address: string } => {
  const at = ref.indexOf('://')
  return {
    store: SECRET_STORES.find(({ scheme }) => scheme === ref.slice(0, at)),
    address: ref.slice(at + 3),
  }
}

/** How keys of well-known providers begin: such a text is a value, whatever stands before it. */
const VALUE = /^(?:(?:sk|rk|pk)_(?:live|test)_|whsec_|gh[opsur]_|github_pat_|xox[abeprs]-|eyj[a-z0-9])/i

const RULES = SECRET_STORES.map(({ addressRule }) => addressRule).join('; or ')

/** The ref of what the hub keeps for the secret ref of that name. */
export const storedRef = (name: string): string => `${hubStore.scheme}://${name}`

/** What is wrong with a ref, without repeating it: it may be a value that was put in the wrong place. */
export function refFault(ref: string): string | undefined {
  const { store, address } = split(ref)
  if (!store?.addressPattern.test(address))
    return `must say where the value is, never the value itself: ${RULES}`
  if (VALUE.test(address))
    return 'looks like a secret value: put the value into the store and name its place here'
  return undefined
}

/** Opens every store with the settings of this process. */
export function openSecretStores(options: StoreOptions): ReadRef {
  const readers = new Map<string, ReadSecret>(
    SECRET_STORES.map((store) => [store.scheme, store.open(options)]),
  )
  return async (owner, ref) => {
    const { store, address } = split(ref)
    const read = store && readers.get(store.scheme)
    // A stored ref was checked when it was written, perhaps by a version of the hub with other stores.
    if (!read || refFault(ref) !== undefined) return { why: 'this version of the hub cannot read the ref' }
    return read(owner, address)
  }
}
