import { closedLoop } from '../load/closed-loop.ts'
import { type Sink, startSink } from '../load/sink-client.ts'
import { itemOf } from '../sides/side.ts'
import { ALL_SIDES, RIVALS } from '../sides/sides.ts'
import { type Case, CPU, RATE, type Run, type Sample } from './case.ts'
import { drain, fill } from './drain.ts'
import { onEngine } from './on-engine.ts'

const CONCURRENCY = 100
const JOBS = { full: 20_000, quick: 4_000 }
const TIMES = { full: { warmUpMs: 1_000, measureMs: 4_000 }, quick: { warmUpMs: 500, measureMs: 1_500 } }
const LIMIT = 'bare-undici'

async function bareClient(run: Run, sink: Sink): Promise<Sample> {
  let n = 0
  const loop = await closedLoop({
    ...TIMES[run.scale],
    concurrency: CONCURRENCY,
    serverPids: [],
    once: () => sink.post(itemOf(n++)),
  })
  return { metrics: { rate: loop.perSecond, ...loop.processorTime }, problems: [...loop.failures] }
}

const drainIntoSink = (run: Run, sink: Sink): Promise<Sample> =>
  onEngine(run, async (engine) => {
    const jobs = JOBS[run.scale]
    await fill(engine, jobs)
    const { perSecond, processorTime, problems } = await drain(engine, {
      jobs,
      concurrency: CONCURRENCY,
      serverPids: run.serverPids,
      handler: sink.post,
    })
    const { received, distinct } = await sink.counts()
    if (received !== jobs || distinct !== jobs)
      problems.push(`the sink got ${received} calls of ${distinct} jobs instead of ${jobs}`)
    return { metrics: { rate: perSecond, ...processorTime }, problems }
  })

export const drainHttp: Case = {
  id: 'd',
  title: `Drain with a handler that POSTs to a local sink, concurrency ${CONCURRENCY}; limit: the same client without jobs`,
  participants: [...ALL_SIDES, LIMIT],
  metrics: [{ key: 'rate', title: 'jobs', ...RATE }, ...CPU],
  goals: [
    { metric: 'rate', of: 'ours', against: RIVALS, atLeast: 1.1 },
    { metric: 'rate', of: 'ours', against: [LIMIT], atLeast: 0.4 },
  ],
  limitMs: { full: 120_000, quick: 60_000 },
  measure: async (run) => {
    const sink = await startSink(CONCURRENCY)
    try {
      return await (run.participant === LIMIT ? bareClient(run, sink) : drainIntoSink(run, sink))
    } finally {
      await sink.stop()
    }
  },
}
