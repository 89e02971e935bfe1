/**
 * A process that sends one prepared request at a fixed rate, whether or not earlier ones were answered. A latency
 * counts from the moment at which the request was due, so that who waits for a free connection is seen as well.
 */
import { percentile, sorted } from '../statistics.ts'
import type { HttpLoadReport } from './http-load.ts'
import { openLoop } from './open-loop.ts'
import { openConnection, type RawConnection, type RawRequest } from './raw-http.ts'

export interface HttpRate extends RawRequest {
  readonly perSecond: number
  readonly connections: number
  readonly warmUpMs: number
  readonly measureMs: number
}

interface Line extends RawConnection {
  answered: () => void
}

async function rate(options: HttpRate): Promise<HttpLoadReport> {
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

process.once('disconnect', () => process.exit(1))
process.send?.(await rate(JSON.parse(process.argv[2] ?? '{}') as HttpRate))
