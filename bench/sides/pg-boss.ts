import { Pool } from 'pg'
import { PgBoss } from 'pg-boss'
import type { Engine, Item, Side, Where, WorkerSettings } from './side.ts'

const QUEUE = 'bench'
/** Fetchers; each takes its share of the concurrency as one batch and completes the batch at once. */
const FETCHERS = 4

async function open({ databaseUrl }: Where): Promise<Engine> {
  const boss = new PgBoss({
    connectionString: databaseUrl,
    max: 16,
    useListenNotify: true,
    schedule: false,
  })
  const errors: Error[] = []
  boss.on('error', (error) => errors.push(error))
  await boss.start()
  await boss.createQueue(QUEUE, { notify: true })
  const pool = new Pool({ connectionString: databaseUrl, max: 1 })

  const startWorkers = async ({ concurrency, handler }: WorkerSettings) => {
    const localConcurrency = Math.min(FETCHERS, concurrency)
    await boss.work<Item>(
      QUEUE,
      {
        localConcurrency,
        // One by one would lose wake-ups: notifications that arrive during a fetch count as one.
        batchSize: Math.ceil(concurrency / localConcurrency),
        pollingIntervalSeconds: 0.5,
        notifyPollingIntervalSeconds: 0.5,
        burstWhenBatchFull: true,
      },
      async (jobs) => {
        await Promise.all(jobs.map(({ data }) => handler(data)))
      },
    )
    return () => boss.offWork(QUEUE)
  }

  const ask = async (text: string) => (await pool.query(text)).rows[0]
  return {
    enqueueOne: async (item) => {
      await boss.send(QUEUE, item)
    },
    enqueueBatch: async (items) => {
      await boss.insert(
        QUEUE,
        items.map((data) => ({ data })),
      )
    },
    startWorkers,
    drained: async () =>
      (
        await ask(
          `select not exists (select from pgboss.job where name = '${QUEUE}' and state < 'completed') as d`,
        )
      ).d,
    counts: async () => {
      if (errors[0]) throw errors[0]
      return ask(
        `select (count(*) filter (where state < 'completed'))::int as unfinished,
                (count(*) filter (where state > 'completed' or retry_count > 0))::int as failed
         from pgboss.job where name = '${QUEUE}'`,
      )
    },
    close: async () => {
      await boss.stop({ graceful: false, close: true })
      await pool.end()
    },
  }
}

export const pgBoss: Side = {
  configuration: `notify, burstWhenBatchFull, ${FETCHERS} fetchers sharing the concurrency as batches; pool 16`,
  open,
}
