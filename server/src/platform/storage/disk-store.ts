import { randomUUID } from 'node:crypto'
import { constants, type Dirent } from 'node:fs'
import { access, mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { failPoint } from '../fail-points.ts'
import { makePrivateFolder } from '../private-file.ts'
import { type ObjectStore, requireKey, requirePrefix, StoreFailure } from './object-store.ts'

/** Beside the objects, on the same disk, and no key begins with a dot. */
const UNFINISHED = '.unfinished'
/** What a killed process has left; one that still writes is younger. */
const LEFT_AFTER_MS = 3_600_000
/** A delete may take the empty folder away that a put has just made. */
const RENAME_TRIES = 5

export interface DiskOptions {
  readonly folder: string
  /** Asked where we have not written yet: false = objects were kept, so that this is not the folder that they are in. */
  readonly mayBegin?: () => Promise<boolean>
}

/**
 * Objects as files of one folder, which nobody else may read. For one host: processes of other hosts see other files.
 * Times do not bound a disk that hangs; the processes on this host hang with it.
 */
export function createDiskStore({ folder, mayBegin }: DiskOptions): ObjectStore {
  const pathOf = (key: string): string => join(folder, ...requireKey(key).split('/'))
  const unfinished = join(folder, UNFINISHED)
  let prepared: Promise<void> | undefined

  const requireBegun = async (): Promise<void> => {
    if (!mayBegin || (await isThere(unfinished)) || (await mayBegin())) return
    throw new StoreFailure(
      `the payload folder has none of the objects that were kept in it: mount its disk, or make the folder ${UNFINISHED} in it to begin anew`,
    )
  }

  const prepare = (): Promise<void> => {
    prepared ??= requireBegun()
      .then(() => makePrivateFolder(unfinished))
      .then(() => makePrivateFolder(folder))
      .then(() => removeLeftovers(unfinished))
      .catch((error: unknown) => {
        prepared = undefined
        throw error
      })
    return prepared
  }

  /** A disk that is not mounted has no objects either: only where we have begun to write does that say anything. */
  const requireMounted = async (): Promise<undefined> => {
    await access(unfinished)
    return undefined
  }

  return {
    name: 'disk',
    put: async (key, bytes) => {
      const path = pathOf(key)
      await orFailure(async () => {
        await prepare()
        const temporary = join(unfinished, randomUUID())
        try {
          const file = await open(temporary, 'wx', 0o600)
          try {
            await file.writeFile(bytes)
            await file.sync()
          } finally {
            await file.close()
          }
          failPoint('storage.before_rename')
          await moveInto(folder, path, temporary)
        } finally {
          await rm(temporary, { force: true })
        }
      })
    },
    get: async (key, { maxBytes }) => {
      const path = pathOf(key)
      return orFailure<Buffer | undefined>(async () => {
        const file = await open(path, 'r')
        try {
          if ((await file.stat()).size > maxBytes)
            throw new StoreFailure('the object is larger than it may be')
          return await file.readFile()
        } finally {
          await file.close()
        }
      }, requireMounted)
    },
    delete: async (key) => {
      const path = pathOf(key)
      await orFailure(async () => {
        await rm(path, { force: true })
        await removeEmpty(folder, dirname(path))
      })
    },
    list: async (prefix, { after = '', limit }) => {
      const at = requirePrefix(prefix)
      return orFailure(async () => {
        const keys: string[] = []
        for await (const key of walk(folder, at, after)) if (keys.push(key) === limit) break
        if (keys.length === 0) await requireMounted()
        return keys
      })
    },
    presignedUrl: async () => undefined,
    check: () =>
      orFailure(async () => {
        await prepare()
        await access(unfinished, constants.W_OK)
      }),
    close: () => undefined,
  }
}

/** Whole and for good: the new name is on the disk, too, with the folders that were made for it. */
async function moveInto(root: string, path: string, temporary: string): Promise<void> {
  for (let tries = 1; ; tries += 1)
    try {
      const made = await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      await rename(temporary, path)
      await syncFolder(dirname(path))
      // Above the first folder that was made, the name of it is new.
      if (made !== undefined)
        for (let folder = dirname(path); folder !== root && folder.startsWith(root); folder = dirname(folder))
          await syncFolder(dirname(folder))
      return
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || tries === RENAME_TRIES) throw error
    }
}

async function syncFolder(folder: string): Promise<void> {
  const opened = await open(folder, 'r')
  await opened.sync().finally(() => opened.close())
}

async function removeEmpty(root: string, folder: string): Promise<void> {
  for (let at = folder; at !== root && at.startsWith(root); at = dirname(at))
    try {
      await rmdir(at)
    } catch {
      // Not empty, or gone already.
      return
    }
}

async function removeLeftovers(unfinished: string): Promise<void> {
  const old = Date.now() - LEFT_AFTER_MS
  for (const name of await readdir(unfinished)) {
    const path = join(unfinished, name)
    const found = await stat(path).catch(() => undefined)
    if (found && found.mtimeMs < old) await rm(path, { force: true })
  }
}

/** Keys in the order of their bytes; folders that end before `after` are not opened. */
async function* walk(root: string, prefix: string, after: string): AsyncGenerator<string> {
  const entries = await readdir(join(root, prefix), { withFileTypes: true }).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return [] as Dirent[]
    throw error
  })
  const names = entries
    .filter(({ name }) => !name.startsWith('.'))
    // Among keys, the name of a folder ends with its slash.
    .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  for (const name of names) {
    const key = prefix + name
    if (!name.endsWith('/')) {
      if (key > after) yield key
    } else if (key > after || after.startsWith(key)) yield* walk(root, key, after)
  }
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

const codeOf = (error: unknown): unknown => (error as { code?: unknown } | null)?.code

const MISSING: ReadonlySet<unknown> = new Set(['ENOENT', 'ENOTDIR', 'EISDIR'])

/** What the file system says, without paths. `missing`, where it is given, answers for what is not there. */
async function orFailure<T>(work: () => Promise<T>, missing?: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof StoreFailure) throw error
    const code = codeOf(error)
    if (missing && MISSING.has(code)) return orFailure(missing)
    throw new StoreFailure(`the payload folder cannot be used: ${String(code ?? 'an unknown fault')}`, {
      cause: error,
    })
  }
}
