import { resolve } from 'node:path'
import { Client } from 'pg'
import type { Log } from '../log.ts'
import { StartRefused } from '../start-refused.ts'
import { copiedBinaries, linkedBinaries, locatePackage } from './binaries.ts'
import { type Credentials, clusterOwner, makeHome, makeReachable, prepareCluster } from './cluster.ts'
import { lockHome } from './hub-lock.ts'
import { clearLeftovers, dataFolderOf } from './leftovers.ts'
import { choosePort, isFree } from './port.ts'
import { chooseRunAs, type RunAs, runToEnd } from './run-as.ts'
import { ServerDidNotStart, type ServerProcess, startServer } from './server.ts'
import { keepRunning } from './supervisor.ts'

export interface EmbeddedPostgresOptions {
  /** A folder that is ours alone, made when missing. Everything of the server lives in it. */
  readonly dataDir: string
  readonly log: Log
  /** Postgres settings over ours, e.g. `{ shared_buffers: '128MB' }`. */
  readonly settings?: Readonly<Record<string, string>>
  /** False: root runs Postgres as `nobody` also where user namespaces work. */
  readonly userNamespaces?: boolean
  /** The folder of another package of binaries than the installed one. */
  readonly packageFolder?: string
}

export interface EmbeddedPostgres {
  /** Database `orchestrator` as its owner, who is not a superuser. Holds the password: never log it. */
  readonly url: string
  /** Database `postgres` as superuser: for backups, tests and repairs only. */
  readonly adminUrl: string
  /** Of the postmaster; another one after it was brought back. */
  readonly pid: number
  /** Resolves when the server ended by itself and could not be brought back; the process should stop then. */
  readonly lost: Promise<Error>
  /** Stops the server and frees the folder. The callers' pools must be closed before. May be called twice. */
  stop(): Promise<void>
}

const DATABASE = 'orchestrator'
const PORT_ATTEMPTS = 5

/**
 * Starts the real Postgres that comes as an npm package, on 127.0.0.1 only, and brings it back when it crashes.
 * Mends by itself what killed processes leave: a running or half-stopped server, half-made folders, stale pid
 * files, a port that a stranger took. Throws StartRefused, with what to do, for everything a person must decide:
 * the folder is used by another live hub or of another version, or Postgres cannot run here.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { log } = options
  // Postgres changes into its data folder: a relative path would be another one there.
  const home = resolve(options.dataDir)
  const packageFolder = options.packageFolder ?? locatePackage()
  await makeHome(home)
  const lock = await lockHome(home)
  let server: ServerProcess | undefined
  try {
    const owner = await clusterOwner(home)
    await clearLeftovers(home, log)
    const runAs = await chooseRunAs({ owner, userNamespaces: options.userNamespaces })
    await makeReachable(home, runAs)
    const binaries = await runnableBinaries(packageFolder, home, runAs)
    const credentials = await prepareCluster({ home, binaries, runAs, log })
    const launch = (port: number) =>
      startServer({ binaries, dataFolder: dataFolderOf(home), port, runAs, log, settings: options.settings })
    server = await launchOnFreePort(home, launch)
    const { port } = server
    const adminUrl = urlOf('postgres', credentials.superuser, port, 'postgres')
    await makeDatabase(adminUrl, credentials)
    log.info({ pid: server.pid, port, as: runAs.label }, 'database started')
    const supervised = keepRunning(server, {
      log,
      restart: async () => {
        await clearLeftovers(home, log)
        return launch(port)
      },
    })
    return {
      url: urlOf(DATABASE, credentials.owner, port, DATABASE),
      adminUrl,
      get pid() {
        return supervised.pid
      },
      lost: supervised.lost,
      stop: async () => {
        await supervised.stop()
        lock.release()
      },
    }
  } catch (error) {
    await server?.stop()
    lock.release()
    throw error
  }
}

async function runnableBinaries(packageFolder: string, home: string, runAs: RunAs): Promise<string> {
  const runs = (native: string) => runToEnd(runAs, `${native}/bin/postgres`, ['--version'])
  const linked = await linkedBinaries(packageFolder)
  if (linked !== undefined && (await runs(linked)).ok) return linked
  const copied = await copiedBinaries(packageFolder, home)
  const { ok, output } = await runs(copied)
  if (ok) return copied
  throw new StartRefused(
    `The built-in Postgres does not run here as ${runAs.label} (${output}): it needs Linux with glibc 2.27 or newer and libstdc++ (not Alpine). Otherwise set DATABASE_URL to a Postgres server of your own.`,
  )
}

async function launchOnFreePort(
  home: string,
  launch: (port: number) => Promise<ServerProcess>,
): Promise<ServerProcess> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await choosePort(home)
    try {
      return await launch(port)
    } catch (error) {
      if (!(error instanceof ServerDidNotStart)) throw error
      // Somebody may take the port between our look and Postgres' own: then the next look finds another one.
      if (attempt < PORT_ATTEMPTS && !(await isFree(port))) continue
      throw new StartRefused(`The built-in Postgres does not start:\n${error.message}`, { cause: error })
    }
  }
}

const urlOf = (user: string, password: string, port: number, database: string) =>
  `postgresql://${user}:${password}@127.0.0.1:${port}/${database}`

/** The hub's own role and database; checked on every start, because the first one may have been cut short. */
async function makeDatabase(adminUrl: string, { owner }: Credentials): Promise<void> {
  const client = new Client({ connectionString: adminUrl, application_name: 'orchestrator start' })
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query<{ role: boolean; database: boolean }>(
      `select exists (select from pg_roles where rolname = $1) as role,
              exists (select from pg_database where datname = $1) as database`,
      [DATABASE],
    )
    const [there] = rows
    if (!there?.role)
      await client.query(`create role ${DATABASE} login password ${client.escapeLiteral(owner)}`)
    // The migrations make the roles of row-level security; clusters of older versions of the hub may not have the right.
    await client.query(`alter role ${DATABASE} createrole`)
    if (!there?.database) await client.query(`create database ${DATABASE} owner ${DATABASE}`)
  } finally {
    await client.end().catch(() => undefined)
  }
}
