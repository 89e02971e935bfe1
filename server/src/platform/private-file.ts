import { randomUUID } from 'node:crypto'
import { chmod, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Clock } from './clock.ts'

/** What changes when the file is replaced. Undefined when there is no file. */
export async function fileVersion(path: string): Promise<string | undefined> {
  try {
    const { ino, mtimeMs, size } = await stat(path)
    return `${ino}:${mtimeMs}:${size}`
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Replaces the file as a whole: a reader, or a start after a power cut, finds the old text or the new one. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(text)
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
 * from a living process after all, one of two changes is lost: both must be whole by themselves.
 */
export async function withFileLock<T>(path: string, clock: Clock, work: () => Promise<T>): Promise<T> {
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
