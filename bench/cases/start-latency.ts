import { startChild } from '../load/child.ts'
import type { HostReport } from '../load/worker-host.ts'
import { ALL_SIDES } from '../sides/sides.ts'
import { type Case, type Goal, MEDIAN_MS, type Metric, type Run, type Sample, TAIL_MS } from './case.ts'
import { percentilesOf, recordStarts, type Sent, sendStream, startProblems } from './latency.ts'
import { onEngine } from './on-engine.ts'

const PER_SECOND = 200
const CONCURRENCY = 20
const STREAM = {
  full: { warmUpMs: 3_000, measureMs: 15_000, perSecond: PER_SECOND, idleJobs: 100 },
  quick: { warmUpMs: 1_000, measureMs: 4_000, perSecond: PER_SECOND, idleJobs: 20 },
}

const METRICS: readonly Metric[] = [
  { key: 'p50', title: `p50 at ${PER_SECOND}/s`, ...MEDIAN_MS },
  { key: 'p99', title: `p99 at ${PER_SECOND}/s`, ...TAIL_MS },
  { key: 'idleP50', title: 'p50 idle', ...MEDIAN_MS },
  { key: 'idleP99', title: 'p99 idle', ...TAIL_MS },
]

const IDLE_GOALS: readonly Goal[] = [
  { metric: 'idleP50', of: 'ours', atMost: 5 },
  { metric: 'idleP99', of: 'ours', atMost: 25 },
]

function sampleOf(sent: Sent, { waits, repeated }: HostReport): Sample {
  const byNumber = new Map(waits)
  const stream = percentilesOf(sent.stream, byNumber)
  const idle = percentilesOf(sent.idle, byNumber)
  return {
    metrics: { p50: stream.p50, p99: stream.p99, idleP50: idle.p50, idleP99: idle.p99 },
    problems: startProblems(sent.jobs, byNumber.size, repeated),
  }
}

/** Enqueuer and worker in one Node process, as in `npm start`. */
export const startLatency: Case = {
  id: 'e',
  title: `Enqueue to start, enqueuer and worker in one process, ${CONCURRENCY} places`,
  participants: ALL_SIDES,
  metrics: METRICS,
  goals: [
    { metric: 'p50', of: 'ours', atMost: 1.5 },
    { metric: 'p99', of: 'ours', atMost: 5 },
    ...IDLE_GOALS,
  ],
  limitMs: { full: 90_000, quick: 45_000 },
  measure: (run) =>
    onEngine(run, async (engine) => {
      const starts = recordStarts()
      const { handler } = starts
      const stop = await engine.startWorkers({ concurrency: CONCURRENCY, handler })
      const sent = await sendStream(engine, STREAM[run.scale])
      await starts.all(sent.jobs)
      await stop()
      return sampleOf(sent, { waits: [...starts.waits], repeated: starts.repeated })
    }),
}

/** Enqueuer and worker in two processes, as in a hub of many processes without Redis. */
export const startLatencyApart: Case = {
  id: 'e2',
  title: `Enqueue to start, enqueuer and worker in two processes, ${CONCURRENCY} places`,
  participants: ALL_SIDES,
  metrics: METRICS,
  goals: IDLE_GOALS,
  limitMs: { full: 90_000, quick: 45_000 },
  measure: (run) =>
    onEngine(run, async (engine) => withWorkersApart(run, (stream) => sendStream(engine, stream))),
}

async function withWorkersApart(
  run: Run,
  send: (stream: (typeof STREAM)['full']) => Promise<Sent>,
): Promise<Sample> {
  const host = startChild('worker-host.ts', [JSON.stringify({ run, concurrency: CONCURRENCY })])
  try {
    await host.next<'ready'>()
    const sent = await send(STREAM[run.scale])
    host.send(sent.jobs)
    return sampleOf(sent, await host.next<HostReport>())
  } finally {
    await host.stop()
  }
}
