import type { ChildProcess } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../log.ts'
import { CLUSTER_NAME } from './leftovers.ts'
import type { RunAs } from './run-as.ts'

export interface ServerProcess {
  readonly pid: number
  readonly port: number
  /** Resolves when the process has ended, for whatever reason, with its last words. */
  readonly ended: Promise<string>
  /** Lets running transactions end as errors, writes a checkpoint and ends. */
  stop(): Promise<void>
}

export interface ServerOptions {
  readonly binaries: string
  readonly dataFolder: string
  readonly port: number
  readonly runAs: RunAs
  readonly log: Log
  readonly settings?: Readonly<Record<string, string>> | undefined
}

/** The server ended before it was ready; the message holds its last words. */
export class ServerDidNotStart extends Error {
  override readonly name = 'ServerDidNotStart'
}

const POLL_MS = 10
const STILL_STARTING_MS = 10_000
const STOP_FAST_MS = 30_000
const STOP_IMMEDIATE_MS = 10_000
const LAST_WORDS_MS = 1_000
const KEPT_LINES = 20

/** On the command line, so that they hold for old data folders too. Everything else: postgresql.conf. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  cluster_name: CLUSTER_NAME,
  max_connections: '200',
  shared_buffers: '256MB',
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  max_wal_size: '2GB',
  // Our statements are small; compiling and parallel workers (shared memory is scarce in containers) only cost.
  jit: 'off',
  max_parallel_workers_per_gather: '0',
  timezone: 'UTC',
  log_timezone: 'UTC',
  lc_messages: 'C',
  // Failed statements are told to their caller; in the server's log they would show values.
  log_min_messages: 'log',
  log_checkpoints: 'off',
  log_destination: 'stderr',
  logging_collector: 'off',
  log_line_prefix: '',
}

/** Starts Postgres on the folder and waits until it takes connections, however long its recovery takes. */
export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  const settings = { ...SETTINGS, ...options.settings, port: String(options.port) }
  const child = options.runAs.start(
    join(options.binaries, 'bin', 'postgres'),
    [
      '-D',
      options.dataFolder,
      ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]),
    ],
    // Its own process group: Ctrl-C in a terminal must reach the hub alone, which stops Postgres last.
    { cwd: options.dataFolder, detached: true, stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const lines: string[] = []
  forwardLog(child, lines, options.log)
  let running = true
  const ended = new Promise<string>((resolve) => {
    const end = (why: string) => {
      running = false
      resolve([why, ...lines].join('\n'))
    }
    child.once('error', (error) => end(error.message))
    child.once('exit', async (code, signal) => {
      // `close` means that all it wrote has been read; a stuck process of a killed server can hold it up.
      await Promise.race([
        new Promise((read) => child.once('close', read)),
        delay(LAST_WORDS_MS, undefined, { ref: false }),
      ])
      end(signal ? `killed by ${signal}` : `exit code ${code}`)
    })
  })
  const started = performance.now()
  let told = started
  while (running && !(await isReady(options.dataFolder, child.pid))) {
    await Promise.race([ended, delay(POLL_MS)])
    if (performance.now() - told < STILL_STARTING_MS) continue
    told = performance.now()
    options.log.warn({ seconds: Math.round((told - started) / 1000) }, 'the database is still recovering')
  }
  const { pid } = child
  if (!running || pid === undefined) throw new ServerDidNotStart(await ended)
  return { pid, port: options.port, ended, stop: () => stopServer(child, ended) }
}

/** Line 1 of postmaster.pid is the pid, line 8 the state (miscadmin.h: LOCK_FILE_LINE_PM_STATUS). */
async function isReady(dataFolder: string, pid: number | undefined): Promise<boolean> {
  const text = await readFile(join(dataFolder, 'postmaster.pid'), 'utf8').catch(() => '')
  const lines = text.split('\n')
  return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
}

async function stopServer(child: ChildProcess, ended: Promise<string>): Promise<void> {
  for (const [signal, patienceMs] of [
    ['SIGINT', STOP_FAST_MS],
    ['SIGQUIT', STOP_IMMEDIATE_MS],
  ] as const) {
    child.kill(signal)
    const patience = new AbortController()
    const done = await Promise.race([
      ended.then(() => true),
      delay(patienceMs, false, { signal: patience.signal }).catch(() => false),
    ])
    patience.abort()
    if (done) return
  }
  child.kill('SIGKILL')
  await ended
}

/** Postgres' own lines go to the hub's log; the last ones are kept for the message of a failed start. */
function forwardLog(child: ChildProcess, kept: string[], log: Log): void {
  if (!child.stderr) return
  createInterface({ input: child.stderr }).on('line', (line) => {
    kept.push(line)
    if (kept.length > KEPT_LINES) kept.shift()
    const [, severity, text] = /^(PANIC|FATAL|LOG): {2}(.*)$/.exec(line) ?? []
    if (severity === 'PANIC') log.error(`database: ${text}`)
    else if (severity === 'FATAL') log.warn(`database: ${text}`)
    else log.debug(`database: ${text ?? line.trim()}`)
  })
}
