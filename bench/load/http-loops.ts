/** The two ways in which processes send load: as fast as it is answered, and at a fixed rate. */
import { percentile, sorted } from '../statistics.ts'
import { openLoop } from './open-loop.ts'
import { openConnection, type RawConnection, type RawRequest, type RawRequests } from './raw-http.ts'

export interface HttpLoadReport {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Answers by status, warm-up included. */
  readonly statuses: Readonly<Record<string, number>>
  readonly failure?: string
}

interface Times {
  readonly connections: number
  readonly warmUpMs: number
  readonly measureMs: number
}

/** Every connection sends its next request as soon as the last one is answered. */
export async function closedHttpLoop(options: (RawRequest | RawRequests) & Times): Promise<HttpLoadReport> {
  const from = performance.now() + options.warmUpMs
  const until = from + options.measureMs
  const latencies: number[] = []
  const statuses: Record<string, number> = {}
  let failure: string | undefined

  const connection = (): Promise<void> =>
    new Promise((resolve) => {
      let started = 0
      let raw: RawConnection | undefined
      const send = (): void => {
        started = performance.now()
        if (started >= until) raw?.socket.end()
        else raw?.send()
      }
      openConnection(options, {
        ready: (connected) => {
          raw = connected
          send()
        },
        answered: (status) => {
          const ended = performance.now()
          statuses[status] = (statuses[status] ?? 0) + 1
          if (ended >= from && ended <= until) latencies.push(ended - started)
          send()
        },
        failed: (error) => {
          failure ??= error.message
        },
        closed: resolve,
      })
    })
  await Promise.all(Array.from({ length: options.connections }, connection))

  const ascending = sorted(latencies)
  return {
    perSecond: latencies.length / (options.measureMs / 1_000),
    p50Ms: percentile(ascending, 0.5),
    p99Ms: percentile(ascending, 0.99),
    statuses,
    ...(failure !== undefined && { failure }),
  }
}

interface Line extends RawConnection {
  answered: () => void
}

/**
 * So many a second, whether or not earlier ones were answered. A latency counts from the moment at which the request was
 * due, so that who waits for a free connection is seen as well.
 */
export async function openHttpLoop(
  options: (RawRequest | RawRequests) & Times & { readonly perSecond: number },
): Promise<HttpLoadReport> {
  const latencies: number[] = []
  const statuses: Record<string, number> = {}
  const free: Line[] = []
  const waiting: ((line: Line) => void)[] = []
  let failure: string | undefined
  const lines = await Promise.all(
    Array.from(
      { length: options.connections },
      () =>
        new Promise<Line>((resolve, reject) => {
          let line: Line | undefined
          openConnection(options, {
            ready: (raw) => {
              line = { ...raw, answered: () => undefined }
              resolve(line)
            },
            answered: (status) => {
              statuses[status] = (statuses[status] ?? 0) + 1
              line?.answered()
            },
            failed: (error) => {
              failure ??= error.message
              reject(error)
            },
            closed: () => undefined,
          })
        }),
    ),
  )
  free.push(...lines)

  const once = (): Promise<void> =>
    new Promise((resolve) => {
      const due = performance.now()
      const use = (line: Line): void => {
        line.answered = () => {
          latencies.push(performance.now() - due)
          const next = waiting.shift()
          if (next) next(line)
          else free.push(line)
          resolve()
        }
        line.send()
      }
      const line = free.pop()
      if (line) use(line)
      else waiting.push(use)
    })
  const { perSecond } = options
  await openLoop({ perSecond, forMs: options.warmUpMs, once })
  latencies.length = 0
  const count = await openLoop({ perSecond, forMs: options.measureMs, once })
  for (const { socket } of lines) socket.end()

  const ascending = sorted(latencies)
  return {
    perSecond: count / (options.measureMs / 1_000),
    p50Ms: percentile(ascending, 0.5),
    p99Ms: percentile(ascending, 0.99),
    statuses,
    ...(failure !== undefined && { failure }),
  }
}
