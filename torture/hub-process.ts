import { randomInt } from 'node:crypto'
import { statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isFree } from '../server/src/platform/embedded/port.ts'
import { type OwnProcess, pauseProcess, REPOSITORY, startOwn } from './own-process.ts'

const CLI = join(REPOSITORY, 'server/bin/orchestrator.js')

/** A process of the hub that is started again whenever it ends, as an init system would. */
export interface HubProcess {
  readonly name: string
  readonly url: string
  readonly up: boolean
  /** Resolves when it answers. */
  ready(): Promise<void>
  /** SIGKILL, and a new start after this time. Resolves when the new one has been started. */
  kill(backAfterMs: number): Promise<void>
  /** The same with SIGTERM: it may end in peace. */
  stop(backAfterMs: number): Promise<void>
  /** SIGSTOP, and SIGCONT when `over` has resolved. */
  pause(over: () => Promise<void>): Promise<void>
  /** Ends it for good, gracefully; false = it had to be killed. */
  end(): Promise<boolean>
}

export interface HubProcessOptions {
  readonly name: string
  readonly role: 'exec' | 'worker' | 'control'
  readonly port: number
  readonly env: Readonly<Record<string, string>>
  readonly logFile: string
  /** A module that is loaded before the hub, for planted bugs. */
  readonly preload?: string | undefined
  /** It was up and ended without our doing. */
  crashed(name: string): void
}

const RESTART_MS = 300
const PROBE_MS = 100
const END_MS = 20_000

/** Ports that the kernel does not give to outgoing connections: a process that starts again finds its own free. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_240, 32_000)
    if (await isFree(port)) return port
  }
}

/** What the CLI says when it finds no database; a crash leaves a stack instead. */
const REFUSAL = /^[^{].*(\(database_unavailable\)|does the server run\?)$/m

/** Whether what the process wrote, from `offset` in its log on, says that it gave up its start. */
async function refusedToStart(logFile: string, offset: number): Promise<boolean> {
  return REFUSAL.test((await readFile(logFile)).toString('utf8', offset))
}

export function startHubProcess(options: HubProcessOptions): HubProcess {
  const { name, role, port, env, logFile } = options
  const url = `http://127.0.0.1:${port}`
  let running: OwnProcess
  let up = false
  let ending = false
  /** Set while the chaos ends the process: the time until it may come back. */
  let backAfterMs: number | undefined
  let started = Promise.withResolvers<void>()

  const probe = async (watched: OwnProcess): Promise<void> => {
    while (watched === running && !ending) {
      const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(2_000) }).catch(
        () => undefined,
      )
      if (answer?.ok && watched === running) {
        up = true
        return
      }
      await delay(PROBE_MS)
    }
  }

  const run = (): void => {
    const logged = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0
    const child = startOwn({
      args: [...(options.preload ? ['--import', options.preload] : []), CLI, 'start', role],
      env: { ...env, [`${role.toUpperCase()}_PORT`]: String(port), TORTURE_NAME: name },
      logFile,
    })
    running = child
    void probe(child)
    void child.ended.then(async () => {
      const wasUp = up
      up = false
      if (ending) return
      // It may refuse to start because the database is away: then it is just started again.
      if (backAfterMs === undefined && wasUp && !(await refusedToStart(logFile, logged)))
        options.crashed(name)
      await delay(backAfterMs ?? RESTART_MS)
      backAfterMs = undefined
      if (ending) return
      run()
      started.resolve()
      started = Promise.withResolvers()
    })
  }
  run()

  const endWith = async (signal: NodeJS.Signals, afterMs: number): Promise<void> => {
    if (ending || backAfterMs !== undefined) return
    const again = started.promise
    backAfterMs = afterMs
    running.signal(signal)
    await again
  }

  return {
    name,
    url,
    get up() {
      return up
    },
    ready: async () => {
      while (!up && !ending) await delay(PROBE_MS)
    },
    kill: (afterMs) => endWith('SIGKILL', afterMs),
    stop: (afterMs) => endWith('SIGTERM', afterMs),
    pause: (over) => pauseProcess(running.pid, over),
    end: async () => {
      ending = true
      started.resolve()
      running.signal('SIGTERM')
      const late = new AbortController()
      const ended = await Promise.race([
        running.ended.then(() => true),
        delay(END_MS, false, { signal: late.signal }).catch(() => true),
      ])
      late.abort()
      if (!ended) running.signal('SIGKILL')
      await running.ended
      return ended
    },
  }
}
