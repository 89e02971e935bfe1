import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../log.ts'
import type { ServerProcess } from './server.ts'

export interface Supervised {
  readonly pid: number
  /** Resolves when the server could not be brought back. */
  readonly lost: Promise<Error>
  stop(): Promise<void>
}

/** So many ends within this time mean that bringing it back again would not help. */
const TOLERATED_ENDS = 3
const WITHIN_MS = 60_000
const PAUSE_MS = 500

/**
 * Brings a server that ended by itself (killed, out of memory) back on the same port, where the pools of the
 * callers find it again. Also ends it when this process exits without having stopped it.
 */
export function keepRunning(
  first: ServerProcess,
  options: { readonly log: Log; restart(): Promise<ServerProcess> },
): Supervised {
  const { log } = options
  let server = first
  let stopping: Promise<void> | undefined
  const ends: number[] = []
  const { promise: lost, resolve: giveUp } = Promise.withResolvers<Error>()

  const endWithProcess = () => {
    try {
      process.kill(server.pid, 'SIGINT')
    } catch {
      // It has ended already; an error here would change the exit code.
    }
  }
  process.once('exit', endWithProcess)

  const watch = async (): Promise<void> => {
    for (;;) {
      let lastWords = await server.ended
      for (let back = false; !back; ) {
        if (stopping) return
        refuseTooMany(ends, lastWords)
        log.error({ last_words: lastWords }, 'the database ended by itself')
        try {
          server = await options.restart()
          back = true
        } catch (error) {
          lastWords = (error as Error).message
          await delay(PAUSE_MS)
        }
      }
      // Who asked to stop in the meantime had only the old one to stop.
      if (stopping) await server.stop()
      else log.warn({ pid: server.pid }, 'the database was brought back')
    }
  }
  const watching = watch().catch((error: Error) => {
    process.off('exit', endWithProcess)
    log.error({ err: error }, 'the database is lost')
    giveUp(error)
  })

  const stop = async (): Promise<void> => {
    process.off('exit', endWithProcess)
    await server.stop()
    await watching
  }
  return {
    get pid() {
      return server.pid
    },
    lost,
    stop: () => {
      stopping ??= stop()
      return stopping
    },
  }
}

function refuseTooMany(ends: number[], lastWords: string): void {
  const now = performance.now()
  ends.push(now)
  const recent = ends.filter((at) => now - at < WITHIN_MS).length
  if (recent > TOLERATED_ENDS)
    throw new Error(`The database ended ${recent} times within a minute: ${lastWords}`)
}
