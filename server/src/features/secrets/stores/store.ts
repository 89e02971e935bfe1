import { Secret } from '../../../platform/secret.ts'

export const MAX_SECRET_BYTES = 65_536

/** Why there is no value, one sentence without it. `why` is shown to people of the workspace. */
export interface Unresolved {
  readonly why: string
}

/** Where the stores find their values; from the config of the process. */
export interface StoreOptions {
  /** Variables by their full name. */
  readonly variables: ReadonlyMap<string, string>
  /** Root of the files. */
  readonly folder: string
}

/** Reads the value at an address for one workspace. Never rejects for a missing or unfit value. */
export type ReadSecret = (slug: string, address: string) => Promise<Secret | Unresolved>

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
export function secretFrom(bytes: Buffer): Secret | Unresolved {
  if (bytes.length === 0) return { why: 'the value is empty' }
  if (bytes.length > MAX_SECRET_BYTES) return { why: `the value is larger than ${MAX_SECRET_BYTES} bytes` }
  try {
    return new Secret(utf8.decode(bytes))
  } catch {
    return { why: 'the value is not UTF-8 text' }
  }
}
