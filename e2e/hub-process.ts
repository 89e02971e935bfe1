/**
 * The hub as its users have it: the real CLI in processes of its own, in a folder and on ports of its own. Tests
 * speak to it over HTTP, signals and standard output only.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { vi } from 'vitest'
import { isFree } from '../server/src/platform/embedded/port.ts'
import { processesOf } from './process-scan.ts'

export const REPOSITORY = join(import.meta.dirname, '..')
const CLI = [process.execPath, join(REPOSITORY, 'server/bin/orchestrator.js')]

export const ROLES = ['control', 'exec', 'console', 'ingress', 'worker'] as const
export type Role = (typeof ROLES)[number]

/** A cold machine makes the database first. */
const START_MS = 60_000
/** Each of the many processes would compile the same files again: half of the time of a short command. */
const COMPILED = join(REPOSITORY, 'node_modules/.cache/orchestrator-e2e')
const RULE = /\n─{100}\n/

/** A place for one hub: a data folder, free ports and the environment that says so. Nothing runs yet. */
export interface HubHome {
  readonly dataDir: string
  readonly env: Readonly<Record<string, string>>
  readonly urls: Readonly<Record<Role, string>>
  /** The same place with other variables; an empty value is an unset one. */
  with(env: Readonly<Record<string, string>>): HubHome
  /** Ends what still runs in it, after a test that failed half-way, and removes the folder. */
  remove(): Promise<void>
}

export interface Ending {
  /** null when a signal ended the process. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A command of the CLI that runs. */
export interface RunningCommand {
  readonly pid: number
  stdout(): string
  stderr(): string
  readonly ended: Promise<Ending>
  /** Signals its whole process group, as a terminal does at Ctrl-C. */
  signal(signal: NodeJS.Signals): void
  /** Asks it to stop and waits until it has. */
  stop(signal?: NodeJS.Signals): Promise<Ending>
  /** kill -9 of this one process, whose own children live on; waits until it is gone. */
  killHard(): Promise<void>
}

/** A whole hub that has printed its box. */
export interface RunningHub extends RunningCommand {
  readonly home: HubHome
  readonly urls: HubHome['urls']
  /** From the box, for `buildos-dev`; throws when the hub was started without demo workspaces. */
  readonly tokens: Readonly<Record<'exec' | 'control', string>>
  /** From the box: what its curl commands send. */
  readonly commands: Readonly<Record<'execute' | 'jobs', { readonly url: string; readonly body: unknown }>>
}

/** Ports below those that the kernel gives to outgoing connections: a stopped hub finds its own free again. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>()
  while (ports.size < count) {
    const port = randomInt(10_240, 32_768)
    if (await isFree(port)) ports.add(port)
  }
  return [...ports]
}

/** Makes a folder and chooses ports. `env` comes over everything; of this process only PATH, HOME and TMPDIR are seen. */
export async function hubHome(env: Readonly<Record<string, string>> = {}): Promise<HubHome> {
  const dataDir = await mkdtemp(join(tmpdir(), 'orchestrator-e2e-'))
  const [demoProduct = 0, ...ports] = await freePorts(ROLES.length + 1)
  const { PATH = '', HOME = dataDir, TMPDIR = tmpdir() } = process.env
  return homeOf(dataDir, {
    ...{ PATH, HOME, TMPDIR, NODE_COMPILE_CACHE: COMPILED },
    ...{ DATA_DIR: dataDir, PAYLOAD_DIR: join(dataDir, 'payloads') },
    ...{ DEMO_PRODUCT_PORT: String(demoProduct) },
    ...Object.fromEntries(ROLES.map((role, at) => [variableOf(role), String(ports[at])])),
    ...env,
  })
}

export const variableOf = (role: Role): string => `${role.toUpperCase()}_PORT`

function homeOf(dataDir: string, env: Readonly<Record<string, string>>): HubHome {
  const urlOf = (role: Role) => [role, `http://${env.HOST || '127.0.0.1'}:${env[variableOf(role)]}`]
  return {
    dataDir,
    env,
    urls: Object.fromEntries(ROLES.map(urlOf)) as HubHome['urls'],
    with: (more) => homeOf(dataDir, { ...env, ...more }),
    remove: async () => {
      for (const { pid } of await processesOf(dataDir)) kill(pid, 'SIGKILL')
      await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended already.
  }
}

/** Starts a command in a process group of its own; by default the CLI, else any program with its arguments. */
export function startCommand(
  home: HubHome,
  args: readonly string[],
  program: readonly string[] = CLI,
): RunningCommand {
  const [file = '', ...first] = program
  const child: ChildProcess = spawn(file, [...first, ...args], {
    cwd: REPOSITORY,
    env: { ...home.env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const written = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      written[name] += text
    })
  // `close` and not `exit`: by then everything it wrote has been read.
  const ended = new Promise<Ending>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal, ...written }))
  })
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const pid = child.pid ?? 0
  const signalGroup = (signal: NodeJS.Signals) => kill(-pid, signal)
  return {
    pid,
    stdout: () => written.stdout,
    stderr: () => written.stderr,
    ended,
    signal: signalGroup,
    stop: (signal = 'SIGINT') => {
      signalGroup(signal)
      return ended
    },
    killHard: async () => {
      kill(pid, 'SIGKILL')
      await gone
    },
  }
}

/** Runs a command of the CLI to its end. */
export const runCli = (home: HubHome, ...args: string[]): Promise<Ending> => startCommand(home, args).ended

/** A token from the `token` command, e.g. `tokenFor(home, 'exec', '--workspace', 'buildos-dev')`. */
export async function tokenFor(home: HubHome, plane: 'exec' | 'control', ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCli(home, 'token', plane, ...args)
  if (code !== 0) throw new Error(`no token: ${stderr}`)
  return stdout.trim()
}

/** Starts the whole hub and waits for its box. Rejects with what it printed when it ends before. */
export async function startHub(home: HubHome, program?: readonly string[]): Promise<RunningHub> {
  const command = program ? startCommand(home, [], program) : startCommand(home, ['start'])
  await untilItSays(command, RULE)
  return {
    ...command,
    home,
    urls: home.urls,
    get tokens() {
      return { exec: exported(command, 'EXEC_TOKEN'), control: exported(command, 'CONTROL_TOKEN') }
    },
    get commands() {
      return { execute: curlOf(command, 'execute'), jobs: curlOf(command, 'jobs') }
    },
  }
}

/** Starts one process of the hub and waits until it is ready. */
export async function startRole(home: HubHome, role: Role): Promise<RunningCommand> {
  const command = startCommand(home, ['start', role])
  const ready = async () => {
    const { ok } = await fetch(`${home.urls[role]}/ready`)
    if (!ok) throw new Error(`${role} is not ready`)
  }
  await orEnds(command, vi.waitFor(ready, { timeout: START_MS, interval: 50 }))
  return command
}

/** Waits until the command has printed something. */
export const untilItSays = (command: RunningCommand, pattern: RegExp): Promise<void> =>
  orEnds(
    command,
    vi.waitFor(
      () => {
        if (!pattern.test(command.stdout())) throw new Error(`it said ${command.stdout()}`)
      },
      { timeout: START_MS, interval: 20 },
    ),
  )

async function orEnds(command: RunningCommand, wanted: Promise<void>): Promise<void> {
  const early = command.ended.then(({ code, signal, stdout, stderr }) => {
    throw new Error(`it ended with ${code ?? signal}:\n${stdout}\n${stderr}`)
  })
  // One of the two settles later, when nobody listens any more.
  for (const promise of [wanted, early]) promise.catch(() => undefined)
  await Promise.race([wanted, early])
}

function exported(command: RunningCommand, variable: string): string {
  const value = new RegExp(`^export ${variable}=(\\S+)$`, 'm').exec(command.stdout())?.[1]
  if (value === undefined) throw new Error(`the box has no ${variable}`)
  return value
}

function curlOf(command: RunningCommand, path: string): { url: string; body: unknown } {
  const pattern = new RegExp(`^curl -s (\\S+/${path}) .* -d '(.*)'$`, 'm')
  const [, url, body] = pattern.exec(command.stdout()) ?? []
  if (url === undefined || body === undefined) throw new Error(`the box has no curl for ${path}`)
  return { url, body: JSON.parse(body) }
}
