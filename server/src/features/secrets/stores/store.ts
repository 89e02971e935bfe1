import type { Queryable } from '../../../platform/db/statement.ts'
import type { Envelope } from '../../../platform/envelope.ts'
import { Secret } from '../../../platform/secret.ts'
import type { Vault } from '../../../platform/vault.ts'

export const MAX_SECRET_BYTES = 65_536

/** Why there is no value, one sentence without it. `why` is shown to people of the workspace. */
export interface Unresolved {
  readonly why: string
  /** The store could not be asked, or what it gave cannot be opened now: there may be a value all the same. */
  readonly away?: true
}

/** The values at an address, newest first: older ones stand beside it while they are still accepted. */
export type Found = readonly [newest: Secret, ...accepted: Secret[]]

/** Where the stores find their values; from the config of the process. */
export interface StoreOptions {
  /** Variables by their full name. */
  readonly variables: ReadonlyMap<string, string>
  /** Root of the files. */
  readonly folder: string
  /** For what the hub keeps itself. */
  readonly db: Queryable
  readonly envelope: Envelope
  readonly vault: VaultOptions | undefined
}

export interface VaultOptions {
  readonly client: Vault
  /** Path before the workspace's own: `<prefix>/<slug>/…`; empty = none. */
  readonly prefix: string
}

/** Whose value is asked for. */
export interface Owner {
  readonly id: string
  readonly slug: string
}

/** Reads the values at an address for one workspace. Never rejects for a missing or unfit value. */
export type ReadSecret = (owner: Owner, address: string) => Promise<Found | Unresolved>

/**
 * One place where values live. The scheme and the address make the ref: `scheme://address`. A store must keep
 * workspaces apart by itself: the same address of two workspaces is two values.
 */
export interface SecretStore {
  readonly scheme: string
  /** For people, e.g. `NAME: capital letters, digits and underscores`. */
  readonly addressRule: string
  readonly addressPattern: RegExp
  open(options: StoreOptions): ReadSecret
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The checks that every store makes on what it found. */
export function secretFrom(bytes: Buffer): Found | Unresolved {
  if (bytes.length === 0) return { why: 'the value is empty' }
  if (bytes.length > MAX_SECRET_BYTES) return { why: `the value is larger than ${MAX_SECRET_BYTES} bytes` }
  try {
    return [new Secret(utf8.decode(bytes))]
  } catch {
    return { why: 'the value is not UTF-8 text' }
  }
}
