import { readdir, readFile, stat } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'

/** A running process. `startTicks` tells it from a later one with the same pid. */
export interface RunningProcess {
  readonly pid: number
  readonly startTicks: string
  readonly commandLine: string
}

const POLL_MS = 20

/**
 * The processes with one of these program names whose current folder is one of `folders`. Postgres stays in its
 * data folder all its life, so this finds every process of a cluster, also without a pid file. Folders are compared
 * by device and inode: the same one may be mounted at several paths.
 */
export async function processesIn(
  folders: readonly string[],
  programs: readonly string[],
): Promise<RunningProcess[]> {
  const wanted = new Set<string>()
  for (const folder of folders) wanted.add(await identity(folder))
  wanted.delete('')
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found = await Promise.all(
    pids.map(async (pid) => {
      const process = await readProcess(pid)
      if (!process || !programs.includes(process.program)) return []
      return wanted.has(await identity(`/proc/${pid}/cwd`)) ? [process] : []
    }),
  )
  return found.flat()
}

/** Sends the signal to those that still live, then waits until all are gone; false when the time is up before. */
export async function signalAndWait(
  processes: readonly RunningProcess[],
  signal: NodeJS.Signals | undefined,
  waitMs: number,
): Promise<boolean> {
  const deadline = performance.now() + waitMs
  let living = await stillLiving(processes)
  for (const { pid } of signal ? living : [])
    try {
      process.kill(pid, signal)
    } catch {
      // It ended in between.
    }
  while (living.length > 0 && performance.now() < deadline) {
    await delay(POLL_MS)
    living = await stillLiving(living)
  }
  return living.length === 0
}

async function stillLiving(processes: readonly RunningProcess[]): Promise<RunningProcess[]> {
  const now = await Promise.all(processes.map(({ pid }) => readProcess(pid)))
  return processes.filter(({ startTicks }, index) => now[index]?.startTicks === startTicks)
}

async function identity(folder: string): Promise<string> {
  return stat(folder).then(
    ({ dev, ino }) => `${dev}:${ino}`,
    () => '',
  )
}

/** proc(5): `pid (program) state …`, the start time in clock ticks since boot is field 22. Zombies count as gone. */
async function readProcess(pid: number): Promise<(RunningProcess & { program: string }) | undefined> {
  try {
    const line = await readFile(`/proc/${pid}/stat`, 'latin1')
    const end = line.lastIndexOf(')')
    const fields = line.slice(end + 2).split(' ')
    const [state, startTicks] = [fields[0], fields[19]]
    if (state === undefined || startTicks === undefined || 'ZX'.includes(state)) return undefined
    const commandLine = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ')
    return { pid, startTicks, commandLine, program: line.slice(line.indexOf('(') + 1, end) }
  } catch {
    return undefined
  }
}
