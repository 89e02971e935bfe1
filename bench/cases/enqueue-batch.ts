import { Pool } from 'pg'
import { closedLoop, type LoopResult } from '../load/closed-loop.ts'
import { type Item, itemOf } from '../sides/side.ts'
import { ALL_SIDES, RIVALS } from '../sides/sides.ts'
import { type Case, CPU, RATE, type Run, type Sample } from './case.ts'
import { onEngine, storedProblems } from './on-engine.ts'

const BATCH = 100
const CALLERS = 4
const TIMES = { full: { warmUpMs: 1_500, measureMs: 5_000 }, quick: { warmUpMs: 500, measureMs: 1_500 } }
const LIMIT = 'plain-insert'

const measureBatches = (run: Run, store: (items: Item[]) => Promise<void>): Promise<LoopResult> => {
  let n = 0
  return closedLoop({
    ...TIMES[run.scale],
    concurrency: CALLERS,
    serverPids: run.serverPids,
    once: () => {
      const items = Array.from({ length: BATCH }, (_, at) => itemOf(n + at))
      n += BATCH
      return store(items)
    },
  })
}

const metricsOf = ({ perSecond, processorTime }: LoopResult) => ({
  rate: perSecond * BATCH,
  cpu: processorTime.cpu / BATCH,
  cpuServer: processorTime.cpuServer / BATCH,
})

/** The limit: the same bytes as rows of one table with a key, one named statement, one JSON parameter. */
async function plainInsert(run: Run): Promise<Sample> {
  const pool = new Pool({ connectionString: run.databaseUrl, max: CALLERS })
  try {
    await pool.query(
      'create table plain (id bigint generated always as identity primary key, item json not null)',
    )
    const statement = {
      name: 'plain',
      text: 'insert into plain (item) select value from json_array_elements($1::json)',
    }
    const loop = await measureBatches(run, async (items) => {
      await pool.query({ ...statement, values: [JSON.stringify(items)] })
    })
    const { rows } = await pool.query('select count(*)::int as unfinished, 0 as failed from plain')
    return {
      metrics: metricsOf(loop),
      problems: [...loop.failures, ...storedProblems(rows[0], loop.succeeded * BATCH)],
    }
  } finally {
    await pool.end()
  }
}

export const enqueueBatch: Case = {
  id: 'b',
  title: `Batches of ${BATCH}, ${CALLERS} callers; limit: one plain multi-row insert`,
  participants: [...ALL_SIDES, LIMIT],
  metrics: [{ key: 'rate', title: 'jobs', ...RATE }, ...CPU],
  goals: [
    { metric: 'rate', of: 'ours', against: RIVALS, atLeast: 1.3 },
    { metric: 'rate', of: 'ours', against: [LIMIT] },
  ],
  limitMs: { full: 60_000, quick: 30_000 },
  measure: (run) =>
    run.participant === LIMIT
      ? plainInsert(run)
      : onEngine(run, async (engine) => {
          const loop = await measureBatches(run, (items) => engine.enqueueBatch(items))
          return {
            metrics: metricsOf(loop),
            problems: [...loop.failures, ...storedProblems(await engine.counts(), loop.succeeded * BATCH)],
          }
        }),
}
