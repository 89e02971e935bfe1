import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import {
  fileVersion,
  makePrivateFolder,
  replaceFile,
  takeRightsFromOthers,
  withFileLock,
} from '../private-file.ts'
import { EnvelopeFailure, type KeyEncryptionKeys } from './keys.ts'
import { keyBytesOf, type LocalKey, newLocalKey, unwrapWith, wrapWith } from './local-key.ts'

const KeysFile = Type.Object({
  current: Type.String(),
  keys: Type.Array(Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }), key: Type.String() }), {
    minItems: 1,
  }),
})

/** The keys of one file; `rotate` and `forget` change it for every process of the hub. */
export interface FileKeys extends KeyEncryptionKeys {
  /** Makes a new current key; the older ones stay and open what they sealed. Gives its id. */
  rotate(): Promise<string>
  /** Removes every older key. Call it only when nothing is sealed by them any more. Gives their ids. */
  forgetOthers(): Promise<readonly string[]>
}

interface Loaded {
  readonly current: LocalKey
  readonly keys: ReadonlyMap<string, LocalKey>
}

/**
 * Key-encryption keys in `<folder>/secrets.json`, made when there is none. Every process of the hub shares the
 * folder. The file is looked at before a key wraps and when an unknown key is asked for, so that a rotation needs
 * no restart. With the file gone, what was read still opens values and seals none: nobody could open them later.
 */
export function fileKeys({
  folder,
  clock,
  log,
}: {
  readonly folder: string
  readonly clock: Clock
  readonly log: Log
}): FileKeys {
  const path = join(folder, 'secrets.json')
  const where = 'the file secrets.json in KEYS_DIR'
  let loaded: Loaded | undefined
  let version: string | undefined

  const missing = (cause?: unknown) =>
    new EnvelopeFailure('key_missing', `The key-encryption keys cannot be read (${where}).`, { cause })

  const create = async (): Promise<void> => {
    await makePrivateFolder(folder)
    await withFileLock(path, clock, async () => {
      const key = newLocalKey()
      if ((await fileVersion(path)) === undefined) await replaceFile(path, format(key, [key]))
    })
  }

  const read = async (): Promise<Loaded> => {
    const found = await fileVersion(path)
    if (found !== undefined && found === version && loaded) return loaded
    const fresh = parse(await readFile(path, 'utf8'))
    if (!fresh) throw missing()
    version = found
    loaded = fresh
    return fresh
  }
  const look = (): Promise<Loaded> =>
    read().catch((error: unknown) => {
      throw error instanceof EnvelopeFailure ? error : missing(error)
    })
  const lookOrCreate = async (): Promise<Loaded> => {
    try {
      if (!loaded && (await fileVersion(path)) === undefined) await create()
    } catch (error) {
      throw missing(error)
    }
    return look()
  }

  const known = async (keyId: string): Promise<LocalKey | undefined> =>
    loaded?.keys.get(keyId) ?? (await look()).keys.get(keyId)

  const change = async <T>(work: (before: Loaded) => Promise<T>): Promise<T> => {
    await lookOrCreate()
    const done = await withFileLock(path, clock, async () => work(await look()))
    await look()
    return done
  }

  return {
    where,
    current: () => {
      if (!loaded) throw missing()
      return loaded.current.id
    },
    refresh: async () => {
      await lookOrCreate()
      if (!(await takeRightsFromOthers(path, 0o600)))
        log.warn({ keys: 'secrets' }, 'the key-encryption keys can be read by other users of this machine')
    },
    wrap: async (dataKey, aad) => wrapWith((await lookOrCreate()).current, dataKey, aad),
    unwrap: async (keyId, bytes, aad) => unwrapWith(await known(keyId), keyId, where, bytes, aad),
    rotate: () =>
      change(async ({ keys }) => {
        const key = newLocalKey()
        await replaceFile(path, format(key, [...keys.values(), key]))
        return key.id
      }),
    forgetOthers: () =>
      change(async ({ current, keys }) => {
        await replaceFile(path, format(current, [current]))
        return [...keys.keys()].filter((id) => id !== current.id)
      }),
  }
}

/** Nothing of the text is in an error: it is made of keys. */
function parse(text: string): Loaded | undefined {
  let file: Static<typeof KeysFile> | undefined
  try {
    const parsed: unknown = JSON.parse(text)
    if (Value.Check(KeysFile, parsed)) file = parsed
  } catch {
    return undefined
  }
  const keys = (file?.keys ?? []).map(({ id, key }) => ({ id, key: keyBytesOf(key) }))
  const whole = keys.filter((key): key is LocalKey => key.key !== undefined)
  const current = whole.find(({ id }) => id === file?.current)
  return current && whole.length === keys.length
    ? { current, keys: new Map(whole.map((key) => [key.id, key])) }
    : undefined
}

function format(current: LocalKey, keys: readonly LocalKey[]): string {
  const file: Static<typeof KeysFile> = {
    current: current.id,
    keys: keys.map(({ id, key }) => ({ id, key: key.toString('base64') })),
  }
  return `${JSON.stringify(file, null, 2)}\n`
}
