/**
 * A process with the workers of one side: says 'ready', takes the number of jobs that were sent, waits for them,
 * and reports how long each waited.
 */
import { once } from 'node:events'
import type { Run } from '../cases/case.ts'
import { recordStarts } from '../cases/latency.ts'
import { loadSide } from '../sides/sides.ts'

export interface HostReport {
  /** Job number and milliseconds from enqueue to start. */
  readonly waits: readonly (readonly [number, number])[]
  readonly repeated: number
}

process.once('disconnect', () => process.exit(1))

const { run, concurrency } = JSON.parse(process.argv[2] ?? '{}') as { run: Run; concurrency: number }
const engine = await (await loadSide(run.participant)).open(run)
const starts = recordStarts()
const stop = await engine.startWorkers({ concurrency, handler: starts.handler })
process.send?.('ready')
const [jobs] = (await once(process, 'message')) as [number]
await starts.all(jobs)
await stop()
process.send?.({ waits: [...starts.waits], repeated: starts.repeated } satisfies HostReport)
