import { percentile, sorted } from '../statistics.ts'
import { countProcessorTime, type ProcessorTime } from './processor-time.ts'

export interface ClosedLoop {
  readonly concurrency: number
  readonly warmUpMs: number
  readonly measureMs: number
  /** Whose processor time counts beside our own. */
  readonly serverPids: readonly number[]
  /** One operation. */
  once(): Promise<void>
}

export interface LoopResult {
  /** Operations that ended inside the measured time, per second. */
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Operations that succeeded, warm-up included: what must be found in the store. */
  readonly succeeded: number
  readonly processorTime: ProcessorTime
  readonly failures: readonly string[]
}

const MAX_FAILURES = 5

/** Callers that each wait for their answer before they ask again; ends after the time, or after some failures. */
export async function closedLoop({
  concurrency,
  warmUpMs,
  measureMs,
  serverPids,
  once,
}: ClosedLoop): Promise<LoopResult> {
  const processorTime = await countProcessorTime(serverPids)
  const from = performance.now() + warmUpMs
  const until = from + measureMs
  const latencies: number[] = []
  const failures: string[] = []
  let succeeded = 0

  const caller = async (): Promise<void> => {
    for (let started = performance.now(); started < until && failures.length < MAX_FAILURES; ) {
      try {
        await once()
        succeeded += 1
      } catch (error) {
        failures.push(String(error))
      }
      const ended = performance.now()
      if (ended >= from && ended <= until) latencies.push(ended - started)
      started = ended
    }
  }
  await Promise.all(Array.from({ length: concurrency }, caller))

  const ascending = sorted(latencies)
  return {
    perSecond: latencies.length / (measureMs / 1_000),
    p50Ms: percentile(ascending, 0.5),
    p99Ms: percentile(ascending, 0.99),
    succeeded,
    processorTime: await processorTime(succeeded),
    failures,
  }
}
