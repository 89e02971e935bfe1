import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export const REPOSITORY = join(import.meta.dirname, '..')
const WITH_PARENT = join(import.meta.dirname, 'with-parent.ts')
/** Each of the many processes would compile the same files again: half of the time of a start. As `e2e` does. */
const COMPILED = join(REPOSITORY, 'node_modules/.cache/orchestrator-e2e')

/** A process of ours. It ends when its standard input does, so it can never outlive this one. */
export interface OwnProcess {
  readonly pid: number
  /** Resolves with the exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>
  /** The next line of its standard output that is JSON; only without a log file. */
  nextLine<Line>(): Promise<Line>
  signal(signal: NodeJS.Signals): void
  /** Ends its input and waits until it has ended. */
  close(): Promise<void>
}

export interface OwnProcessOptions {
  /** Arguments of Node: modules to preload and the program. */
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Where its output goes; absent = lines are read with `nextLine`. */
  readonly logFile?: string
  /** False: the program itself watches its input, because it has things to put in order. */
  readonly watchParent?: boolean
}

/** Starts a program on this very Node, with nothing of our environment but what every program needs. */
export function startOwn({ args, env = {}, logFile, watchParent = true }: OwnProcessOptions): OwnProcess {
  const { PATH = '', HOME = '/', TMPDIR = '/tmp' } = process.env
  const log = logFile === undefined ? undefined : openSync(logFile, 'a')
  const child: ChildProcess = spawn(
    process.execPath,
    [...(watchParent ? ['--import', WITH_PARENT] : []), ...args],
    {
      cwd: REPOSITORY,
      env: { PATH, HOME, TMPDIR, NODE_NO_WARNINGS: '1', NODE_COMPILE_CACHE: COMPILED, ...env },
      // A group of its own: Ctrl-C in a terminal reaches the supervisor alone, which puts everything in order.
      detached: true,
      stdio: ['pipe', log ?? 'pipe', log ?? 'inherit'],
    },
  )
  if (log !== undefined) closeSync(log)
  child.stdin?.on('error', () => undefined)
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('error', () => resolve(-1))
    child.once('exit', (code, signal) => resolve(code ?? signal ?? -1))
  })
  const lines = child.stdout && createInterface({ input: child.stdout })
  return {
    pid: child.pid ?? 0,
    ended,
    nextLine: async <Line>() => {
      if (!lines) throw new Error('its output goes to a file')
      const line = await Promise.race([once(lines, 'line').then(([text]) => text as string), ended])
      if (typeof line === 'number' || !line.startsWith('{')) throw new Error(`it ended or said: ${line}`)
      return JSON.parse(line) as Line
    },
    signal: (signal) => {
      child.kill(signal)
    },
    close: async () => {
      child.stdin?.end()
      await ended
    },
  }
}

/**
 * Stops a process (SIGSTOP) until `over` resolves, by a process of its own whose input ends with us: should we be
 * killed meanwhile, it is continued all the same and then finds that its parent is gone. Resolves when it has been
 * continued.
 */
export async function pauseProcess(pid: number, over: () => Promise<void>): Promise<void> {
  const script = 'kill -STOP "$1" && echo stopped && { read -r _; kill -CONT "$1"; }'
  const child = spawn('sh', ['-c', script, 'pause', String(pid)], {
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  const ended = once(child, 'exit')
  child.stdin.on('error', () => undefined)
  await Promise.race([once(child.stdout, 'data'), ended])
  try {
    await over()
  } finally {
    child.stdin.end()
    await ended
  }
}
