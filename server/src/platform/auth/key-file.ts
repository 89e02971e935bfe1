import { randomUUID } from 'node:crypto'
import { chmod, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Clock } from '../clock.ts'
import { StartRefused } from '../start-refused.ts'
import { type KeySet, SIGNING_ALGORITHM } from './key-set.ts'

/** The file: a JWK Set (RFC 7517) with private parts and our times beside them. */
const KeyFile = Type.Object({
  keys: Type.Array(
    Type.Object({
      kty: Type.Literal('OKP'),
      crv: Type.Literal('Ed25519'),
      alg: Type.Literal(SIGNING_ALGORITHM),
      use: Type.Literal('sig'),
      kid: Type.String({ minLength: 1, maxLength: 100 }),
      x: Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
      d: Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
      created_at: Type.String(),
      signs_from: Type.String(),
      retires_at: Type.Union([Type.String(), Type.Null()]),
    }),
    { minItems: 1 },
  ),
})

function time(text: string, path: string): number {
  const value = Date.parse(text)
  if (Number.isNaN(value)) throw new Error(`the key file ${path} holds a time that cannot be read`)
  return value
}

function parseKeyFile(text: string, path: string): KeySet {
  let file: Static<typeof KeyFile> | undefined
  try {
    const parsed: unknown = JSON.parse(text)
    if (Value.Check(KeyFile, parsed)) file = parsed
  } catch {
    // JSON.parse quotes the text in its message, and the text is a private key: the sentence below says enough.
  }
  if (!file)
    throw new StartRefused(
      `The key file ${path} is not a set of signing keys: bring it back from a backup, or move it away. Then new keys are made, and living tokens end.`,
    )
  return file.keys.map(({ kid, x, d, created_at, signs_from, retires_at }) => ({
    kid,
    x,
    d,
    createdAt: time(created_at, path),
    signsFrom: time(signs_from, path),
    retiresAt: retires_at === null ? null : time(retires_at, path),
  }))
}

const iso = (epochMs: number): string => new Date(epochMs).toISOString()

const formatKeyFile = (keys: KeySet): string => {
  const file: Static<typeof KeyFile> = {
    keys: keys.map(({ kid, x, d, createdAt, signsFrom, retiresAt }) => ({
      kty: 'OKP',
      crv: 'Ed25519',
      alg: SIGNING_ALGORITHM,
      use: 'sig',
      kid,
      x,
      d,
      created_at: iso(createdAt),
      signs_from: iso(signsFrom),
      retires_at: retiresAt === null ? null : iso(retiresAt),
    })),
  }
  return `${JSON.stringify(file, null, 2)}\n`
}

/** What changes when the file is replaced. Undefined when there is no file. */
export async function keyFileVersion(path: string): Promise<string | undefined> {
  try {
    const { ino, mtimeMs, size } = await stat(path)
    return `${ino}:${mtimeMs}:${size}`
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Reads the keys. Errors: no such file, or a file that is not what `writeKeyFile` writes. */
export const readKeyFile = async (path: string): Promise<KeySet> =>
  parseKeyFile(await readFile(path, 'utf8'), path)

/** Replaces the file as a whole: a reader, or a start after a power cut, finds the old keys or the new ones. */
export async function writeKeyFile(path: string, keys: KeySet): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(formatKeyFile(keys))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } finally {
    await rm(temporary, { force: true })
  }
  const folder = await open(dirname(path), 'r')
  await folder.sync().finally(() => folder.close())
}

/** Makes the folder, and takes rights from group and others that an older one may have given. */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await takeRightsFromOthers(folder, 0o700)
}

/** True when the file or folder is now its owner's alone; false when it is not and cannot be changed (a mounted secret). */
export async function takeRightsFromOthers(path: string, mode: number): Promise<boolean> {
  if (((await stat(path)).mode & 0o077) === 0) return true
  try {
    await chmod(path, mode)
    return true
  } catch {
    return false
  }
}

const LOCK_RETRY_MS = 25
/** The lock is held for milliseconds: who has it for this long has died with it. */
const LOCK_STALE_MS = 5_000

/**
 * Runs `work` while no other process of this machine or shared folder changes the file. Should a lock be taken
 * from a living process after all, one of two rotations is lost, and the lost key has never signed.
 */
export async function withKeyFileLock<T>(path: string, clock: Clock, work: () => Promise<T>): Promise<T> {
  const lock = `${path}.lock`
  const since = clock.monotonic()
  for (;;) {
    try {
      await (await open(lock, 'wx', 0o600)).close()
      break
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error
      if (clock.monotonic() - since > LOCK_STALE_MS) await rm(lock, { force: true })
      else await clock.sleep(LOCK_RETRY_MS)
    }
  }
  try {
    return await work()
  } finally {
    await rm(lock, { force: true })
  }
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown } | null)?.code
