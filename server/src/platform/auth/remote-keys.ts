/**
 * Keys of other issuers, from their JWKS URLs, in memory.
 *
 * Invariants. Keys are asked for again before they are five minutes old; until one hour old they are used when the
 * issuer does not answer, and then not any more. A key id that nobody knows leads to another look at most every five
 * seconds for each URL, however many tokens come with made-up ones. A set with anything wrong in it changes nothing.
 */
import type { Clock } from '../clock.ts'
import type { Dial } from '../dial/dial.ts'
import type { Log } from '../log.ts'
import { type PublicKey, parsePublicJwks } from './public-jwks.ts'

/** Asked for again in the background, while the keys are still good. */
const REFRESH_MS = 240_000
const FRESH_MS = 300_000
const STALE_MS = 3_600_000
const COOL_DOWN_MS = 5_000
const FAILURE_COOL_DOWN_MS = 15_000
const TIMEOUT_MS = 3_000
const MAX_BYTES = 65_536

export interface RemoteKeys {
  /** The key of this id at this URL; waits for it when it is not known or too old. Undefined = no such key. */
  find(url: string, kid: string): Promise<PublicKey | undefined>
  /** True while this key is among those of the URL, and they are fresh. */
  accepts(url: string, key: PublicKey): boolean
}

interface Held {
  keys: ReadonlyMap<string, PublicKey>
  /** Monotonic milliseconds. */
  readAt: number
  nextTryAt: number
  reading: Promise<void> | undefined
}

export function createRemoteKeys({
  dial,
  clock,
  log,
}: {
  readonly dial: Pick<Dial, 'request'>
  readonly clock: Clock
  readonly log: Log
}): RemoteKeys {
  const known = new Map<string, Held>()
  const ageOf = ({ readAt }: Held): number => clock.monotonic() - readAt

  const held = (url: string): Held => {
    const before = known.get(url)
    if (before) return before
    const never = Number.NEGATIVE_INFINITY
    const made: Held = { keys: new Map(), readAt: never, nextTryAt: never, reading: undefined }
    known.set(url, made)
    return made
  }

  const readOnce = async (url: string, of: Held): Promise<void> => {
    try {
      const { status, body } = await dial.request({
        method: 'GET',
        url,
        headers: { accept: 'application/jwk-set+json, application/json' },
        signal: AbortSignal.timeout(TIMEOUT_MS),
        connectTimeoutMs: TIMEOUT_MS,
        maxResponseBytes: MAX_BYTES,
      })
      // The dial follows no redirect: it is an answer like any other that is not 200.
      if (status !== 200) throw new Error(`the answer has the status ${status}`)
      of.keys = sameObjects(of.keys, await parsePublicJwks(body.toString('utf8')))
      of.readAt = clock.monotonic()
      of.nextTryAt = of.readAt + COOL_DOWN_MS
    } catch (error) {
      of.nextTryAt = clock.monotonic() + FAILURE_COOL_DOWN_MS
      // Not the error itself: a JSON fault quotes the document.
      log.warn({ jwks_url: url, why: whyOf(error) }, 'the keys of an issuer cannot be read')
    }
  }
  const read = (url: string, of: Held): Promise<void> => {
    if (!of.reading && clock.monotonic() < of.nextTryAt) return Promise.resolve()
    of.reading ??= readOnce(url, of).finally(() => {
      of.reading = undefined
    })
    return of.reading
  }

  return {
    find: async (url, kid) => {
      const of = held(url)
      if (ageOf(of) >= FRESH_MS || !of.keys.has(kid)) await read(url, of)
      return ageOf(of) < STALE_MS ? of.keys.get(kid) : undefined
    },
    accepts: (url, key) => {
      const of = known.get(url)
      if (of?.keys.get(key.kid) !== key) return false
      if (ageOf(of) >= REFRESH_MS) void read(url, of)
      return ageOf(of) < FRESH_MS
    },
  }
}

/** A key that was there before stays the same object, so that tokens that it has verified stay verified. */
const sameObjects = (
  before: ReadonlyMap<string, PublicKey>,
  after: ReadonlyMap<string, PublicKey>,
): ReadonlyMap<string, PublicKey> =>
  new Map(
    [...after].map(([kid, key]) => {
      const old = before.get(kid)
      return [kid, old?.fingerprint === key.fingerprint ? old : key]
    }),
  )

const whyOf = (error: unknown): string =>
  error instanceof SyntaxError
    ? 'the document is not JSON'
    : error instanceof Error
      ? error.message
      : 'unknown'
