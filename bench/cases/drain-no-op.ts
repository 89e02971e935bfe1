import { ALL_SIDES } from '../sides/sides.ts'
import { type Case, CPU, RATE } from './case.ts'
import { drain, fill } from './drain.ts'
import { onEngine } from './on-engine.ts'

const JOBS = { full: 40_000, quick: 8_000 }
/** What each side does best with here; more made them slower or no faster (bench/README.md). */
const CONCURRENCY: Readonly<Record<string, number>> = {
  ours: 200,
  'graphile-worker': 24,
  'graphile-batched': 24,
  'pg-boss': 400,
  'bullmq-always': 100,
  'bullmq-everysec': 100,
}

export const drainNoOp: Case = {
  id: 'c',
  title: 'Drain with a handler that does nothing',
  participants: ALL_SIDES,
  metrics: [{ key: 'rate', title: 'jobs', ...RATE }, ...CPU],
  goals: [
    { metric: 'rate', of: 'ours', against: ['graphile-batched'], atLeast: 1.1 },
    { metric: 'rate', of: 'ours', against: ['bullmq-always'], atLeast: 2 },
    { metric: 'rate', of: 'ours', against: ['bullmq-everysec'], atLeast: 2 },
  ],
  limitMs: { full: 120_000, quick: 60_000 },
  measure: (run) =>
    onEngine(run, async (engine) => {
      const jobs = JOBS[run.scale]
      await fill(engine, jobs)
      const { perSecond, processorTime, problems } = await drain(engine, {
        jobs,
        concurrency: CONCURRENCY[run.participant] ?? 100,
        serverPids: run.serverPids,
        handler: () => undefined,
      })
      return { metrics: { rate: perSecond, ...processorTime }, problems }
    }),
}
