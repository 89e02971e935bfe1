import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '../log.ts'
import { StartRefused } from '../start-refused.ts'
import { processesIn, type RunningProcess, signalAndWait } from './process-table.ts'

/** Postgres shows the cluster's name in every command line: the mark of the servers that we started. */
export const CLUSTER_NAME = 'orchestrator-hub'

export const dataFolderOf = (home: string): string => join(home, 'data')
/** Clusters are made under this prefix and renamed when they are whole. */
export const NEW_CLUSTER_PREFIX = 'new-'

const FAST_MS = 30_000
const IMMEDIATE_MS = 10_000
const KILL_MS = 5_000

/**
 * Clears what a killed hub left behind; only the holder of the folder's lock may call it. A server that still runs
 * is stopped, not adopted: it may be of another version, its log goes nowhere, and stopping takes milliseconds.
 * Half-made clusters and a stale pid file are removed. Throws StartRefused for a server that is not ours.
 */
export async function clearLeftovers(home: string, log: Log): Promise<void> {
  const dataFolder = dataFolderOf(home)
  const entries = await readdir(home)
  const halfMade = entries
    .filter((name) => name.startsWith(NEW_CLUSTER_PREFIX))
    .map((name) => join(home, name))
  const makers = await processesIn(
    halfMade.flatMap((folder) => [folder, dataFolderOf(folder)]),
    ['initdb', 'postgres'],
  )
  await signalAndWait(makers, 'SIGKILL', KILL_MS)
  for (const folder of halfMade) {
    log.info({ folder }, 'removing a database folder that was never finished')
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  await stopServers(dataFolder, log)
  // Nobody runs in the folder now. Postgres itself believes a pid file when the pid belongs to anybody alive.
  await rm(join(dataFolder, 'postmaster.pid'), { force: true })
}

async function stopServers(dataFolder: string, log: Log): Promise<void> {
  const processes = await processesIn([dataFolder], ['postgres'])
  const stranger = processes.find(({ commandLine }) => !isOurs(commandLine))
  if (stranger)
    throw new StartRefused(
      `A Postgres server that Orchestrator did not start (process ${stranger.pid}) uses the data folder ${dataFolder}: stop it first.`,
    )
  const servers = processes.filter(isPostmaster)
  if (processes.length > 0)
    log.warn({ pids: processes.map(({ pid }) => pid) }, 'stopping database processes that were left behind')
  // Without its postmaster every other process leaves by itself; one that is stuck is pushed.
  await signalAndWait(servers, 'SIGINT', FAST_MS)
  if (await signalAndWait(processes, undefined, servers.length > 0 ? KILL_MS : IMMEDIATE_MS)) return
  await signalAndWait(processes, 'SIGQUIT', IMMEDIATE_MS)
  if (await signalAndWait(processes, 'SIGKILL', KILL_MS)) return
  throw new StartRefused(
    `A database process that was left behind in ${dataFolder} does not end: restart the machine, or find what it waits for.`,
  )
}

const isPostmaster = ({ commandLine }: RunningProcess) =>
  commandLine.includes(` cluster_name=${CLUSTER_NAME}`)
const isOurs = (commandLine: string) =>
  commandLine.includes(` cluster_name=${CLUSTER_NAME}`) ||
  commandLine.startsWith(`postgres: ${CLUSTER_NAME}: `)
