import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { StartRefused } from '../start-refused.ts'

const SQLITE_BUSY = 5

/**
 * Takes the folder for this process, or throws StartRefused naming the process that has it. SQLite is used only
 * for its file lock: the kernel frees it however the process ends, so a lock is never stale, and it also holds
 * between containers that share the folder, where a process id means nothing.
 */
export async function lockHome(home: string): Promise<{ release(): void }> {
  const holderFile = join(home, 'hub.pid')
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(join(home, 'hub.lock'), { timeout: 0 })
    // In memory: a journal file beside the lock would outlive a killed process.
    database.exec('pragma journal_mode = memory; begin exclusive')
  } catch (error) {
    database?.close()
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY)
      throw new StartRefused(`The data folder ${home} cannot be locked: ${(error as Error).message}.`, {
        cause: error,
      })
    const holder = (await readFile(holderFile, 'utf8').catch(() => '')).trim()
    throw new StartRefused(
      `The data folder ${home} is in use by another running Orchestrator${holder && ` (process ${holder})`}: stop it first, or choose another DATA_DIR.`,
    )
  }
  const held = database
  await writeFile(holderFile, `${process.pid}\n`)
  return {
    release: () => {
      if (held.isOpen) held.close()
    },
  }
}
