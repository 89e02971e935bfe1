import { randomBytes } from 'node:crypto'
import {
  access,
  chmod,
  chown,
  constants,
  lchown,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '../log.ts'
import { StartRefused } from '../start-refused.ts'
import { dataFolderOf, NEW_CLUSTER_PREFIX } from './leftovers.ts'
import { canEnter, type RunAs, runToEnd } from './run-as.ts'

/** Passwords of the two roles. They lie inside the data folder: a cluster without them could not be opened. */
export interface Credentials {
  readonly superuser: string
  readonly owner: string
}

const CREDENTIALS = 'orchestrator-passwords.json'

/** Who owns the cluster of this home; undefined when there is none yet. */
export async function clusterOwner(home: string): Promise<{ uid: number; gid: number } | undefined> {
  return stat(join(dataFolderOf(home), 'PG_VERSION')).catch(absent)
}

/**
 * Makes the cluster when there is none, else checks that these binaries can open it and that its files belong
 * to whom Postgres runs as. Throws StartRefused with what to do.
 */
export async function prepareCluster(options: {
  readonly home: string
  readonly binaries: string
  readonly runAs: RunAs
  readonly log: Log
}): Promise<Credentials> {
  const { home, binaries, runAs, log } = options
  const folder = dataFolderOf(home)
  const existing = await readFile(join(folder, 'PG_VERSION'), 'utf8').catch(absent)
  if (existing === undefined) {
    log.info({ folder }, 'making the database folder (first start)')
    await makeCluster(home, folder, binaries, runAs)
  } else {
    await refuseOtherVersion(folder, existing.trim(), binaries, runAs)
    await giveTo(runAs, folder)
  }
  return readCredentials(folder)
}

const absent = (error: NodeJS.ErrnoException): undefined => {
  if (error.code !== 'ENOENT') throw refusal(error)
}
const refusal = (error: NodeJS.ErrnoException): StartRefused =>
  new StartRefused(
    `The data folder cannot be used (${error.message}): start Orchestrator as the user who owns it, or choose another DATA_DIR.`,
    { cause: error },
  )

/** Made under another name and renamed when whole: whatever interrupts this, no half-made cluster is ever opened. */
async function makeCluster(home: string, folder: string, binaries: string, runAs: RunAs): Promise<void> {
  await refuseOccupied(folder)
  const temporary = await mkdtemp(join(home, NEW_CLUSTER_PREFIX))
  const made = dataFolderOf(temporary)
  const passwordFile = join(temporary, 'password')
  const password = () => randomBytes(32).toString('base64url')
  const credentials: Credentials = { superuser: password(), owner: password() }
  await writeFile(passwordFile, credentials.superuser, { mode: 0o600 })
  await giveTo(runAs, temporary)
  const { ok, output } = await runToEnd(
    runAs,
    join(binaries, 'bin', 'initdb'),
    [
      ...['--pgdata', made, '--username', 'postgres', '--pwfile', passwordFile, '--auth', 'scram-sha-256'],
      // Sorting by code point is the same on every machine; lower() and upper() know all of Unicode.
      ...[
        '--encoding',
        'UTF8',
        '--locale',
        'C',
        '--locale-provider',
        'builtin',
        '--builtin-locale',
        'C.UTF-8',
      ],
      '--no-instructions',
    ],
    temporary,
  )
  if (!ok) {
    await rm(temporary, { recursive: true, force: true })
    throw new StartRefused(`The database folder ${folder} could not be made: ${lastLines(output)}`)
  }
  const file = join(made, CREDENTIALS)
  await writeFile(file, JSON.stringify(credentials), { mode: 0o600, flush: true })
  if (process.getuid?.() === 0) await chown(file, runAs.uid, runAs.gid)
  await rename(made, folder)
  const parent = await open(home)
  await parent.sync().finally(() => parent.close())
  await rm(temporary, { recursive: true, force: true })
}

/** A Postgres that runs as somebody else than this process must get through to its data. Throws StartRefused if not. */
export async function makeReachable(home: string, runAs: RunAs): Promise<void> {
  if (runAs.uid === process.getuid?.() || (await canEnter(runAs, home))) return
  await chmod(home, 0o711)
  if (!(await canEnter(runAs, home)))
    throw new StartRefused(
      `Postgres must run as ${runAs.label} here, and that user cannot enter ${home}: put DATA_DIR below folders that everybody may enter (chmod o+x), or start Orchestrator as an ordinary user.`,
    )
}

async function refuseOccupied(folder: string): Promise<void> {
  const entries = await readdir(folder).catch(absent)
  if (entries === undefined) return
  if (entries.length > 0)
    throw new StartRefused(
      `The folder ${folder} is neither empty nor a Postgres data folder: move it away, or choose another DATA_DIR.`,
    )
  await rm(folder, { recursive: true })
}

async function refuseOtherVersion(folder: string, version: string, binaries: string, runAs: RunAs) {
  const { output } = await runToEnd(runAs, join(binaries, 'bin', 'postgres'), ['--version'])
  const ours = /\(PostgreSQL\) (\d+)/.exec(output)?.[1]
  if (ours !== version)
    throw new StartRefused(
      `The data folder ${folder} was made by Postgres ${version}, this version of Orchestrator brings Postgres ${ours}: start the version of Orchestrator that made it, export the data and import them here, or choose another DATA_DIR.`,
    )
}

async function readCredentials(folder: string): Promise<Credentials> {
  const file = join(folder, CREDENTIALS)
  const text = await readFile(file, 'utf8').catch(absent)
  if (text === undefined)
    throw new StartRefused(`The database passwords are missing: restore ${file} from a backup of the folder.`)
  return JSON.parse(text) as Credentials
}

/** Only root can and needs to. The folder itself comes last, so that an interrupted change is seen and repeated. */
async function giveTo({ uid, gid }: RunAs, folder: string): Promise<void> {
  if (process.getuid?.() !== 0 || (await stat(folder)).uid === uid) return
  const entries = await readdir(folder, { recursive: true })
  for (const entry of entries) await lchown(join(folder, entry), uid, gid)
  await chown(folder, uid, gid)
}

/** Makes the folder, or throws StartRefused when this user cannot make or use it. */
export async function makeHome(home: string): Promise<void> {
  try {
    // Root may have to run Postgres as `nobody`, who must pass through; the cluster itself is closed in any case.
    await mkdir(home, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 })
    await access(home, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    throw refusal(error as NodeJS.ErrnoException)
  }
}

const lastLines = (text: string): string => text.split('\n').slice(-5).join('\n')
