import { Client } from 'pg'
import { itemOf } from '../sides/side.ts'
import { POSTGRES_SIDES } from '../sides/sides.ts'
import type { Case, Metric, Run, Sample } from './case.ts'
import { drain, fill } from './drain.ts'
import { onEngine } from './on-engine.ts'

const JOBS = { full: 20_000, quick: 3_000 }
const SINGLE = { full: 4_000, quick: 1_000 }
const CALLERS = 64
const CONCURRENCY = 100

const metric = (key: string, title: string): Metric => ({
  ...{ key, title, unit: 'bytes', better: 'lower', steadiness: 1.5 },
})

async function measure(run: Run): Promise<Sample> {
  const client = new Client({ connectionString: run.databaseUrl })
  await client.connect()
  const position = async (): Promise<number> => {
    const { rows } = await client.query(`select (pg_current_wal_insert_lsn() - '0/0')::float8 as at`)
    return rows[0].at
  }
  try {
    return await onEngine(run, async (engine) => {
      const [jobs, single] = [JOBS[run.scale], SINGLE[run.scale]]
      const start = await position()
      await fill(engine, jobs)
      const filled = await position()
      let n = jobs
      const caller = async (): Promise<void> => {
        while (n < jobs + single) await engine.enqueueOne(itemOf(n++))
      }
      await Promise.all(Array.from({ length: CALLERS }, caller))
      const enqueued = await position()
      const { problems } = await drain(engine, {
        jobs: jobs + single,
        concurrency: CONCURRENCY,
        serverPids: run.serverPids,
        handler: () => undefined,
      })
      const drained = await position()
      const batch = (filled - start) / jobs
      const perDrain = (drained - enqueued) / (jobs + single)
      return {
        metrics: { batch, single: (enqueued - filled) / single, drain: perDrain, whole: batch + perDrain },
        problems,
      }
    })
  } finally {
    await client.end()
  }
}

export const walPerJob: Case = {
  id: 'i',
  title: 'Write-ahead log per job',
  participants: POSTGRES_SIDES,
  metrics: [
    metric('batch', 'enqueue in batches'),
    metric('single', 'enqueue one by one'),
    metric('drain', 'run and finish'),
    metric('whole', 'batch + run'),
  ],
  goals: [
    { metric: 'whole', of: 'ours', against: ['graphile-batched'] },
    { metric: 'whole', of: 'ours', against: ['pg-boss'] },
  ],
  limitMs: { full: 120_000, quick: 60_000 },
  measure,
}
