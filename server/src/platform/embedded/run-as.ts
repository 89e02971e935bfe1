import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'

/** Postgres refuses to run as root, so this is how its programs are run, and who then owns its files. */
export interface RunAs {
  /** For messages: as whom the programs run. */
  readonly label: string
  /** Real owner of what the programs create. */
  readonly uid: number
  readonly gid: number
  start(program: string, args: readonly string[], options: SpawnOptions): ChildProcess
}

interface RunAsOptions {
  /** Owner of the cluster that is already there. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined
  /** False: never make a user namespace, for hosts where they are forbidden by policy and not by the kernel. */
  readonly userNamespaces?: boolean | undefined
}

/** Nothing is inherited: a foreign LANG, PGDATA or PGPORT must not reach the server. */
const ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' }
const NOBODY = 65_534

/**
 * Chooses how to run Postgres. A cluster that belongs to another user than root always runs as its owner.
 * Otherwise root uses a user namespace (the process stays root for the files, also below closed folders, but is an
 * ordinary user without capabilities for itself and for Postgres), and `nobody` where the kernel forbids namespaces.
 * A user without an entry in the passwd file (containers with a random uid) gets a name the same way: initdb needs one.
 */
export async function chooseRunAs(options: RunAsOptions = {}): Promise<RunAs> {
  const uid = process.getuid?.() ?? 0
  const gid = process.getgid?.() ?? 0
  const { owner } = options
  if (uid === 0 && owner !== undefined && owner.uid !== 0) return asUser(owner.uid, owner.gid)
  if (uid !== 0 && hasName()) return direct(uid, gid)
  const namespace = await inNamespace(uid, gid)
  if (options.userNamespaces !== false && (await runToEnd(namespace, 'true', [])).ok) return namespace
  return uid === 0 ? asUser(NOBODY, NOBODY) : direct(uid, gid)
}

function hasName(): boolean {
  try {
    return userInfo().username !== ''
  } catch {
    return false
  }
}

const direct = (uid: number, gid: number): RunAs => ({
  label: `the user with uid ${uid}`,
  uid,
  gid,
  start: (program, args, options) => spawn(program, args, { ...options, env: ENVIRONMENT }),
})

const asUser = (uid: number, gid: number): RunAs => ({
  label: uid === NOBODY ? 'the user nobody' : `the user with uid ${uid}`,
  uid,
  gid,
  start: (program, args, options) => spawn(program, args, { ...options, uid, gid, env: ENVIRONMENT }),
})

async function inNamespace(uid: number, gid: number): Promise<RunAs> {
  const inside = await firstOrdinaryUser()
  // `unshare` replaces itself by the program: pid and signals are the program's.
  const prefix = ['--user', `--map-user=${inside}`, `--map-group=${inside}`, '--']
  return {
    label: `the user with uid ${uid} in a user namespace`,
    uid,
    gid,
    start: (program, args, options) =>
      spawn('unshare', [...prefix, program, ...args], { ...options, env: ENVIRONMENT }),
  }
}

/** Any user that has a name, only to be called so inside the namespace. */
async function firstOrdinaryUser(): Promise<number> {
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '')
  const uids = passwd.split('\n').map((line) => Number(line.split(':')[2] || Number.NaN))
  return uids.find((uid) => uid > 0) ?? NOBODY
}

/** Runs a program to its end. `output` is what it printed to both streams, for messages. */
export async function runToEnd(
  runAs: RunAs,
  program: string,
  args: readonly string[],
  cwd = '/',
): Promise<{ ok: boolean; output: string }> {
  const child = runAs.start(program, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ ok: false, output: error.message }))
    child.once('close', (code) => resolve({ ok: code === 0, output: output.trim() }))
  })
}

export const canEnter = async (runAs: RunAs, folder: string): Promise<boolean> =>
  (await runToEnd(runAs, '/bin/sh', ['-c', 'cd -- "$0"', folder])).ok
