import { access, constants, stat, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Config } from '../../config.ts'
import { readKeyFile } from '../../platform/auth/key-file.ts'
import { locatePackage } from '../../platform/embedded/binaries.ts'
import { StartRefused } from '../../platform/start-refused.ts'
import { PLANES } from '../../processes/operator-token.ts'
import type { Finding } from './finding.ts'

const GIB = 1024 ** 3
/** Below this Postgres can no longer be trusted to recycle its write-ahead log (max_wal_size is 1 GB). */
const MIN_FREE_BYTES = 2 * GIB
const GROUP_AND_OTHERS = 0o077

export const checkRuntime = async (): Promise<readonly Finding[]> => [
  {
    name: 'runtime',
    ok: true,
    detail: `Node ${process.versions.node} on ${process.platform} ${process.arch}`,
  },
]

/** The nearest folder above that exists: where a new data folder would be made. */
async function existingFolder(path: string): Promise<string> {
  try {
    await stat(path)
    return path
  } catch {
    return existingFolder(dirname(path))
  }
}

/** The data folder can be written and its disk has room. */
export async function checkDisk(config: Config): Promise<readonly Finding[]> {
  const folder = await existingFolder(config.dataDir)
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  const writable = await access(folder, constants.W_OK).then(
    () => true,
    () => false,
  )
  return [
    {
      name: 'data folder',
      ok: writable,
      detail: `${config.dataDir} ${writable ? 'can be written' : 'cannot be written'}`,
      mend: 'Give this user the right to write there, or set DATA_DIR to another folder.',
    },
    {
      name: 'disk',
      ok: free >= MIN_FREE_BYTES,
      detail: `${(free / GIB).toFixed(1)} GiB free`,
      mend: `Free some space: below ${MIN_FREE_BYTES / GIB} GiB the database may stop.`,
    },
  ]
}

async function checkKey(config: Config, plane: string): Promise<Finding> {
  const name = `${plane} keys`
  const path = join(config.keysDir, `${plane}.json`)
  const found = await stat(path).catch(() => undefined)
  if (!found) return { name, ok: true, detail: 'will be made on the first start' }
  if (found.mode & GROUP_AND_OTHERS)
    return { name, ok: false, detail: `${path} can be read by others`, mend: `chmod 600 ${path}` }
  try {
    const keys = await readKeyFile(path)
    return { name, ok: true, detail: `${keys.length} in ${config.keysDir}` }
  } catch {
    return {
      name,
      ok: false,
      detail: `${path} is not a key set`,
      mend: 'Bring the file back from a backup, or move it away: new keys are made and living tokens end.',
    }
  }
}

export const checkKeys = (config: Config): Promise<readonly Finding[]> =>
  Promise.all(PLANES.map((plane) => checkKey(config, plane)))

/** Without DATABASE_URL the hub needs the Postgres that comes with `npm ci`. */
export async function checkEmbeddedBinaries(config: Config): Promise<readonly Finding[]> {
  if (config.databaseUrl !== undefined) return []
  const name = 'embedded Postgres'
  try {
    locatePackage()
    return [{ name, ok: true, detail: 'its binaries are installed' }]
  } catch (error) {
    const detail = error instanceof StartRefused ? error.message : 'its binaries cannot be found'
    return [
      { name, ok: false, detail, mend: 'Run `npm ci` again (without --omit=optional), or set DATABASE_URL.' },
    ]
  }
}
