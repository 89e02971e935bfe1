import { EventEmitter } from 'node:events'
import { Logger, makeWorkerUtils, run } from 'graphile-worker'
import { Pool } from 'pg'
import type { Engine, Item, Where, WorkerSettings } from './side.ts'

const TASK = 'bench'
const quiet = new Logger(() => () => undefined)

interface GraphileSettings {
  /** See https://worker.graphile.org/docs/performance; absent = each worker asks the database for each job. */
  readonly batching?: GraphileConfig.WorkerOptions
}

/** The same package in two configurations: every job by itself, or local queue and batched completion. */
export async function openGraphile({ databaseUrl }: Where, { batching }: GraphileSettings): Promise<Engine> {
  const pool = new Pool({ connectionString: databaseUrl, max: 16 })
  // Their advice (err.red/wpeh): without listeners a broken connection would end the process.
  const broken = (error: Error) => process.stderr.write(`graphile-worker: ${error.message}\n`)
  pool.on('error', broken)
  pool.on('connect', (client) => client.on('error', broken))
  const utils = await makeWorkerUtils({ pgPool: pool, logger: quiet })
  await utils.migrate()

  const startWorkers = async ({ concurrency, handler }: WorkerSettings) => {
    const events = new EventEmitter()
    const runner = await run({
      noHandleSignals: true,
      events,
      taskList: { [TASK]: (payload) => handler(payload as Item) },
      crontab: '',
      preset: {
        worker: {
          connectionString: databaseUrl,
          concurrentJobs: concurrency,
          // Their advice: concurrency + 1 or more; with batching a few do the work of all.
          maxPoolSize: batching ? 25 : concurrency + 1,
          logger: quiet,
          ...batching,
        },
      },
    })
    return () => runner.stop()
  }

  const ask = async (text: string) => (await pool.query(text)).rows[0]
  return {
    enqueueOne: async (item) => {
      await utils.addJob(TASK, item)
    },
    enqueueBatch: async (items) => {
      await utils.addJobs(items.map((payload) => ({ identifier: TASK, payload })))
    },
    startWorkers,
    drained: async () =>
      (await ask('select not exists (select from graphile_worker._private_jobs) as drained')).drained,
    counts: async () => {
      const row = await ask(
        `select count(*)::int as unfinished, (count(*) filter (where last_error is not null))::int as failed
         from graphile_worker._private_jobs`,
      )
      return { unfinished: row.unfinished, failed: row.failed }
    },
    close: async () => {
      await utils.release()
      await pool.end()
    },
  }
}
