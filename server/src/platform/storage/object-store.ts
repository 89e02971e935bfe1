/**
 * Where bytes are kept that are too large for the database. An object is written once, as a whole, and read as a whole;
 * the same key again with the same bytes changes nothing.
 *
 * Invariants. What `put` has answered survives a power cut. A reader finds the whole object or none. Nothing outside of
 * the store's folder or bucket is touched, whatever a key looks like.
 */
export interface ObjectStore {
  /** For people: which store it is. */
  readonly name: 'disk' | 's3'
  /** Errors: `StoreFailure`, after which the object may be there or not. */
  put(key: string, bytes: Buffer, options: PutOptions): Promise<void>
  /** Undefined when there is none. Errors: `StoreFailure`, also for more than `maxBytes`. */
  get(key: string, options: GetOptions): Promise<Buffer | undefined>
  /** One that is not there is no error. Errors: `StoreFailure`. */
  delete(key: string, options: CallOptions): Promise<void>
  /** Keys that begin with `prefix` and come after `after`, in the order of their bytes; fewer than `limit`: no more are there. */
  list(prefix: string, options: ListOptions): Promise<readonly string[]>
  /** A URL with which anybody reads the object for so long; undefined where the store has no such thing. */
  presignedUrl(key: string, options: PresignOptions): Promise<string | undefined>
  /** That objects can be kept now. Errors: `StoreFailure`. */
  check(options: CallOptions): Promise<void>
  close(): void
}

export interface CallOptions {
  readonly timeoutMs: number
}
export interface PutOptions extends CallOptions {
  readonly contentType: string
}
export interface GetOptions extends CallOptions {
  readonly maxBytes: number
}
export interface ListOptions extends CallOptions {
  readonly after?: string | undefined
  /** 1 to 1,000. */
  readonly limit: number
}
export interface PresignOptions {
  /** 1 to 300. */
  readonly expiresSeconds: number
  readonly filename: string
}

/** The store is away, slow, full or refuses us. The message is for the log and for `/ready`: no secrets, no keys of objects. */
export class StoreFailure extends Error {
  override readonly name = 'StoreFailure'
}

export const MAX_PRESIGNED_SECONDS = 300
const MAX_KEY_LENGTH = 512
const KEY = /^[A-Za-z0-9][A-Za-z0-9_.-]*(\/[A-Za-z0-9][A-Za-z0-9_.-]*)*$/

/** Keys are made by us alone; what looks otherwise is a bug or an attack (`..`, `%2e`, absolute paths) and throws a RangeError. */
export function requireKey(key: string): string {
  if (key.length > MAX_KEY_LENGTH || !KEY.test(key)) throw new RangeError('this is no key of an object')
  return key
}

/** As `requireKey`, for the beginning of keys: nothing, or whole segments that end with a slash. */
export function requirePrefix(prefix: string): string {
  if (prefix !== '' && !prefix.endsWith('/')) throw new RangeError('a prefix ends with a slash')
  if (prefix !== '') requireKey(prefix.slice(0, -1))
  return prefix
}

/** Errors (RangeError): a time that no link may have, a name that could break out of its header. */
export function requirePresign({ expiresSeconds, filename }: PresignOptions): void {
  if (!Number.isInteger(expiresSeconds) || expiresSeconds < 1 || expiresSeconds > MAX_PRESIGNED_SECONDS)
    throw new RangeError(`a link lives 1 to ${MAX_PRESIGNED_SECONDS} seconds`)
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(filename)) throw new RangeError('this is no name of a file')
}
