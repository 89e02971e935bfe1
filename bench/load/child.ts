import { fork, type Serializable } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

export interface Child {
  readonly pid: number
  /** The next message that it sends. Rejects when it ends instead. */
  next<T>(): Promise<T>
  send(message: Serializable): void
  /** Ends it and waits until it is gone. */
  stop(): Promise<void>
}

/** Starts a script of the bench in a process of its own; it ends with its parent (`disconnect`). */
export function startChild(script: string, args: readonly string[] = []): Child {
  const child = fork(join(import.meta.dirname, script), [...args], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const gone = once(child, 'exit')
  return {
    pid: child.pid ?? 0,
    next: async <T>() => {
      const ended = gone.then(([code, signal]) => {
        throw new Error(`${script} ended with ${code ?? signal}`)
      })
      ended.catch(() => undefined)
      const [message] = await Promise.race([once(child, 'message'), ended])
      return message as T
    },
    send: (message) => void child.send(message),
    stop: async () => {
      child.kill('SIGTERM')
      await gone
    },
  }
}
