/**
 * The signing keys of one audience: on disk, shared by every process of the hub, in memory for use.
 *
 * Invariants. Each audience has its own file, so that a token of one can never verify as one of another. The
 * keys in memory are those of the file, at most one poll behind; a file that cannot be read leaves the last
 * good keys in force. A key signs only after every process has had the time to read it.
 */
import { join } from 'node:path'
import { type CryptoKey, importJWK } from 'jose'
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import { fileVersion, makePrivateFolder, takeRightsFromOthers, withFileLock } from '../private-file.ts'
import { readKeyFile, writeKeyFile } from './key-file.ts'
import {
  generateSigningKey,
  type JwksDocument,
  jwksDocument,
  type KeySet,
  rotate,
  SIGNING_ALGORITHM,
  type SigningKey,
  signingKey,
  verifyingKeys,
} from './key-set.ts'

/** Verifiers allow the clocks of two hosts to differ by this much. */
export const CLOCK_SKEW_SECONDS = 5
/** 30 times the poll of the file and longer than a JWKS document may be cached. */
const PUBLISH_DELAY_MS = 60_000
const POLL_MS = 1_000
/** Tokens with made-up key ids must not turn into disk reads. */
const FORCED_REFRESH_MS = 1_000

export interface Keys {
  /** The key that signs now. */
  signer(): { readonly kid: string; readonly key: CryptoKey }
  /** The public key of `kid`; looks at the file again when it is unknown. Undefined = no such key. */
  publicKey(kid: string): Promise<CryptoKey | undefined>
  /** True while tokens of this key are accepted, as far as this process knows. */
  accepts(kid: string): boolean
  /** Public parts only. */
  jwks(): JwksDocument
  /** Publishes a new key and retires the others; see `rotate` in key-set.ts for the times. */
  rotate(): Promise<{ readonly kid: string; readonly signsFrom: Date }>
  /** Reads the file if it has changed; drops from it what has retired. Runs by itself every second. */
  refresh(): Promise<void>
  close(): void
}

export interface KeysOptions {
  readonly folder: string
  /** Name of the file without `.json`: one per audience. */
  readonly name: string
  /** The longest life of a token: an old key verifies that long after its last signature. */
  readonly maxTokenAgeSeconds: number
  readonly clock: Clock
  readonly log: Log
  readonly pollMs?: number
}

interface LoadedKey extends SigningKey {
  readonly publicKey: CryptoKey
  readonly privateKey: CryptoKey
}

async function load(key: SigningKey): Promise<LoadedKey> {
  const { kid, x, d } = key
  const publicJwk = { kty: 'OKP', crv: 'Ed25519', x, kid }
  return {
    ...key,
    publicKey: (await importJWK(publicJwk, SIGNING_ALGORITHM)) as CryptoKey,
    privateKey: (await importJWK({ ...publicJwk, d }, SIGNING_ALGORITHM)) as CryptoKey,
  }
}

/**
 * Opens the keys of one audience and makes the first one when there is no file yet; processes that start at
 * the same time end with the same key. Errors: a folder that cannot be written, a file that is not a key set.
 */
export async function openKeys(options: KeysOptions): Promise<Keys> {
  const { clock, log, name } = options
  const path = join(options.folder, `${name}.json`)
  const rules = {
    publishDelayMs: PUBLISH_DELAY_MS,
    tokenLifeMs: (options.maxTokenAgeSeconds + CLOCK_SKEW_SECONDS) * 1_000,
  }
  let loaded: readonly LoadedKey[] = []
  let version: string | undefined
  let failing = false
  let refreshing: Promise<void> | undefined
  let lastForced = Number.NEGATIVE_INFINITY

  const readChanged = async (): Promise<void> => {
    const found = await fileVersion(path)
    if (found === version && found !== undefined) return
    const keys = await readKeyFile(path)
    loaded = await Promise.all(
      keys.map((key) => {
        const known = loaded.find(({ kid }) => kid === key.kid)
        return known ? { ...known, ...key } : load(key)
      }),
    )
    version = found
  }

  const replace = async (change: (keys: KeySet) => KeySet): Promise<void> => {
    await withFileLock(path, clock, async () => writeKeyFile(path, change(await readKeyFile(path))))
    await readChanged()
  }

  const refreshOnce = async (): Promise<void> => {
    try {
      await readChanged()
      const now = clock.now()
      if (verifyingKeys(loaded, now).length < loaded.length) await replace((keys) => verifyingKeys(keys, now))
      failing = false
    } catch (error) {
      if (!failing) log.error({ err: error, keys: name }, 'the signing keys cannot be refreshed')
      failing = true
    }
  }
  const refresh = (): Promise<void> => {
    refreshing ??= refreshOnce().finally(() => {
      refreshing = undefined
    })
    return refreshing
  }

  const find = (kid: string): LoadedKey | undefined =>
    verifyingKeys(loaded, clock.now()).find((key) => key.kid === kid)

  if ((await fileVersion(path)) === undefined) {
    await makePrivateFolder(options.folder)
    const fresh = await generateSigningKey()
    await withFileLock(path, clock, async () => {
      if ((await fileVersion(path)) === undefined)
        await writeKeyFile(path, rotate([], fresh, clock.now(), rules))
    })
  }
  if (!(await takeRightsFromOthers(path, 0o600)))
    log.warn({ keys: name }, 'the signing keys can be read by other users of this machine')
  await readChanged()

  const timer = setInterval(() => void refresh(), options.pollMs ?? POLL_MS)
  timer.unref()

  return {
    signer: () => {
      const key = signingKey(loaded, clock.now())
      if (!key) throw new Error(`the file of ${name} has no key that can sign`)
      return { kid: key.kid, key: key.privateKey }
    },
    publicKey: async (kid) => {
      const known = find(kid)
      if (known) return known.publicKey
      if (clock.monotonic() - lastForced >= FORCED_REFRESH_MS) {
        lastForced = clock.monotonic()
        await refresh()
      } else await refreshing
      return find(kid)?.publicKey
    },
    accepts: (kid) => find(kid) !== undefined,
    jwks: () => jwksDocument(loaded, clock.now()),
    rotate: async () => {
      const fresh = await generateSigningKey()
      await replace((keys) => rotate(keys, fresh, clock.now(), rules))
      const signsFrom = loaded.find(({ kid }) => kid === fresh.kid)?.signsFrom
      if (signsFrom === undefined) throw new Error('the new key was replaced by another rotation')
      return { kid: fresh.kid, signsFrom: new Date(signsFrom) }
    },
    refresh,
    close: () => clearInterval(timer),
  }
}
