/** One time limit for all calls on one connection. Answers come in order, so only the oldest call is watched. */
export interface CallLimit {
  /** Runs a call; it settles as the call does, or rejects with what `releaseAll` was given. */
  run<T>(call: () => Promise<T>): Promise<T>
  /** Ends the waiting of every call. */
  releaseAll(error: Error): void
}

interface Waiting {
  readonly since: number
  reject(error: Error): void
}

/** A timer that comes later than this says that this process stood still, and nothing about the other side. */
const STALL_MS = 10
const MAX_STALLS = 3

/** `onLate` is called when a call has waited for `limitMs` milliseconds in which this process did not stand still. */
export function createCallLimit(limitMs: number, onLate: () => void): CallLimit {
  /** In the order in which they were sent. */
  const waiting = new Set<Waiting>()
  let timer: NodeJS.Timeout | undefined
  let stalls = 0

  const arm = (ms: number): void => {
    const dueAt = performance.now() + ms
    timer = setTimeout(() => look(dueAt), ms)
  }

  const look = (dueAt: number): void => {
    timer = undefined
    const [oldest] = waiting
    if (!oldest) return
    const now = performance.now()
    const stalled = now - dueAt > STALL_MS && stalls < MAX_STALLS
    stalls = stalled ? stalls + 1 : 0
    const left = stalled ? limitMs : limitMs - (now - oldest.since)
    if (left > 0) arm(left)
    else onLate()
  }

  return {
    run: (call) =>
      new Promise((resolve, reject) => {
        const entry = { since: performance.now(), reject }
        waiting.add(entry)
        if (timer === undefined) arm(limitMs)
        call().then(
          (reply) => {
            waiting.delete(entry)
            resolve(reply)
          },
          (error: unknown) => {
            waiting.delete(entry)
            reject(error)
          },
        )
      }),
    releaseAll: (error) => {
      clearTimeout(timer)
      timer = undefined
      const released = [...waiting]
      waiting.clear()
      for (const each of released) each.reject(error)
    },
  }
}
