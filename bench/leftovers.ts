import { readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lockHome } from '../server/src/platform/embedded/hub-lock.ts'
import { clearLeftovers } from '../server/src/platform/embedded/leftovers.ts'
import { processesIn, signalAndWait } from '../server/src/platform/embedded/process-table.ts'
import { createLog } from '../server/src/platform/log.ts'
import { REDIS_PREFIX } from './redis.ts'
import { POSTGRES_PREFIX } from './world.ts'

/** A run that is just starting may not have locked its folder yet. */
const YOUNG_MS = 60_000
const KILL_MS = 5_000

/** Ends and removes what a bench that was killed hard left in the folder for temporary files. */
export async function removeLeftovers(): Promise<void> {
  const names = await readdir(tmpdir())
  for (const name of names) {
    const home = join(tmpdir(), name)
    if (!name.startsWith(POSTGRES_PREFIX) && !name.startsWith(REDIS_PREFIX)) continue
    const folder = await stat(home).catch(() => undefined)
    if (folder?.uid !== process.getuid?.() || Date.now() - (folder?.birthtimeMs ?? 0) < YOUNG_MS) continue
    await removeUnlocked(home, async () =>
      name.startsWith(POSTGRES_PREFIX)
        ? clearLeftovers(home, createLog('bench', 'error'))
        : signalAndWait(await processesIn([home], ['redis-server']), 'SIGKILL', KILL_MS),
    )
  }
}

/** Whoever uses a folder has it locked, and the kernel frees the lock however he ends. */
async function removeUnlocked(home: string, endProcesses: () => Promise<unknown>): Promise<void> {
  const lock = await lockHome(home).catch(() => undefined)
  if (!lock) return
  try {
    await endProcesses()
    await rm(home, { recursive: true, force: true, maxRetries: 5 })
  } finally {
    lock.release()
  }
}
