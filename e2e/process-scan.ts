import { readdir, readFile, readlink } from 'node:fs/promises'

export interface FoundProcess {
  readonly pid: number
  readonly commandLine: string
}

/**
 * Every living process that has to do with a data folder: it is named in the command line or the environment, or
 * is where the process works. Finds what the hub's own bookkeeping may have forgotten; zombies have none of these.
 */
export async function processesOf(dataDir: string): Promise<FoundProcess[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found = await Promise.all(pids.map((pid) => lookAt(pid, dataDir)))
  return found.filter((process) => process !== undefined)
}

async function lookAt(pid: number, dataDir: string): Promise<FoundProcess | undefined> {
  if (pid === process.pid) return undefined
  const nothing = () => ''
  const [commandLine, environment, folder] = await Promise.all([
    readFile(`/proc/${pid}/cmdline`, 'utf8').catch(nothing),
    readFile(`/proc/${pid}/environ`, 'utf8').catch(nothing),
    readlink(`/proc/${pid}/cwd`).catch(nothing),
  ])
  const about = [commandLine, environment, folder].some((text) => text.includes(dataDir))
  return about ? { pid, commandLine: commandLine.replaceAll('\0', ' ').trim() } : undefined
}

/** The postmaster of a hub's own database, as its pid file says. */
export async function postmasterOf(dataDir: string): Promise<number> {
  const text = await readFile(`${dataDir}/postgres/data/postmaster.pid`, 'utf8')
  return Number(text.split('\n')[0])
}
