import { closedLoop } from '../load/closed-loop.ts'
import { itemOf } from '../sides/side.ts'
import { ALL_SIDES } from '../sides/sides.ts'
import { type Case, CPU, RATE, TAIL_MS } from './case.ts'
import { onEngine, storedProblems } from './on-engine.ts'

const CONCURRENCY = 64
const TIMES = { full: { warmUpMs: 1_500, measureMs: 5_000 }, quick: { warmUpMs: 500, measureMs: 1_500 } }

export const enqueueOne: Case = {
  id: 'a',
  title: `Single enqueues, ${CONCURRENCY} callers`,
  participants: ALL_SIDES,
  metrics: [{ key: 'rate', title: 'jobs', ...RATE }, { key: 'p99', title: 'p99', ...TAIL_MS }, ...CPU],
  goals: [
    { metric: 'rate', of: 'ours', against: ['graphile-worker', 'graphile-batched', 'pg-boss'], atLeast: 10 },
    { metric: 'rate', of: 'ours', against: ['bullmq-always'], atLeast: 1.2 },
    { metric: 'rate', of: 'ours', against: ['bullmq-everysec'], atLeast: 1.2 },
  ],
  limitMs: { full: 60_000, quick: 30_000 },
  measure: (run) =>
    onEngine(run, async (engine) => {
      let n = 0
      const loop = await closedLoop({
        ...TIMES[run.scale],
        concurrency: CONCURRENCY,
        serverPids: run.serverPids,
        once: () => engine.enqueueOne(itemOf(n++)),
      })
      return {
        metrics: { rate: loop.perSecond, p99: loop.p99Ms, ...loop.processorTime },
        problems: [...loop.failures, ...storedProblems(await engine.counts(), loop.succeeded)],
      }
    }),
}
