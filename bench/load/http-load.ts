/**
 * A process that sends one prepared HTTP/1.1 request over and over on each of its connections and reads only
 * what it must of the answers: a general client would cost as much as the server that is measured.
 */
import { percentile, sorted } from '../statistics.ts'
import { openConnection, type RawConnection, type RawRequest } from './raw-http.ts'

export interface HttpLoad extends RawRequest {
  readonly connections: number
  readonly warmUpMs: number
  readonly measureMs: number
}

export interface HttpLoadReport {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Answers by status, warm-up included. */
  readonly statuses: Readonly<Record<string, number>>
  readonly failure?: string
}

async function load(options: HttpLoad): Promise<HttpLoadReport> {
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

process.once('disconnect', () => process.exit(1))
process.send?.(await load(JSON.parse(process.argv[2] ?? '{}') as HttpLoad))
