import { randomBytes } from 'node:crypto'
import { systemClock, systemRandom } from '../../server/src/platform/clock.ts'
import { createDb, type Db } from '../../server/src/platform/db/db.ts'
import { createNotifications } from '../../server/src/platform/db/notifications.ts'
import { one } from '../../server/src/platform/db/statement.ts'
import { newId } from '../../server/src/platform/ids.ts'
import { createLog } from '../../server/src/platform/log.ts'
import { createMetrics } from '../../server/src/platform/metrics.ts'
import type { Platform } from '../../server/src/platform/platform.ts'
import type { Handler } from '../../server/src/queue/attempts.ts'
import { enqueueJobs } from '../../server/src/queue/enqueue.ts'
import { createEnqueuer } from '../../server/src/queue/enqueuer.ts'
import type { NewJob } from '../../server/src/queue/job.ts'
import { setLaneCaps, setTenantShare } from '../../server/src/queue/lane-policy.ts'
import { createRunner, QUEUE_CONNECTIONS, QUEUE_SESSION, type Runner } from '../../server/src/queue/queue.ts'
import { createWakeUp, type WakeUp } from '../../server/src/queue/wake-up.ts'
import type { Engine, Item, Side, WorkerSettings } from './side.ts'

/** The product's own size (DB_POOL_SIZE). */
const POOL_SIZE = 10
/** A fifth of a runner's places is kept for the critical queue; the bench has none of those jobs. */
const PLACES_FOR_OTHERS = 0.8
/** Several tenants, each with its own lane, so that the turns between them are part of what is measured. */
const TENANTS = 20
/** Never reached, but counted by every claim. */
const CAP = 1_000

/** Our queue with everything that a process of the hub puts around it; for cases that need more than an `Engine`. */
export interface OurQueue {
  readonly platform: Platform
  readonly claimDb: Db
  readonly wakeUp: WakeUp
  /** A job of this tenant's lane, as `POST /jobs` makes it. */
  jobOf(item: Item, tenantId: string): NewJob
  createRunner(places: number, handler: Handler, claimDb?: Db): Runner
  close(): Promise<void>
}

export function openOurQueue(url: string): OurQueue {
  const log = createLog('bench', 'warn')
  const metrics = createMetrics('bench')
  const options = { url, slowQueryMs: 60_000, log, metrics }
  const platform: Platform = {
    log,
    metrics,
    clock: systemClock,
    random: systemRandom,
    db: createDb({ ...options, applicationName: 'bench', poolSize: POOL_SIZE }),
    notifications: createNotifications({ url, applicationName: 'bench', log }),
  }
  const claimDb = createDb({
    ...options,
    applicationName: 'bench claims',
    poolSize: QUEUE_CONNECTIONS,
    session: QUEUE_SESSION,
  })
  const wakeUp = createWakeUp(platform)
  return {
    platform,
    claimDb,
    wakeUp,
    jobOf: (item, tenantId) => ({
      id: newId(),
      tenantId,
      queue: 'default',
      lane: 1,
      connector: 'sms',
      operation: 'message.send',
      input: item,
      configVersion: 1,
      createdBy: 'svc:bench',
      call: newCall(),
    }),
    createRunner: (places, handler, db = claimDb) =>
      createRunner({
        platform,
        claimDb: db,
        wakeUp,
        handler,
        concurrency: Math.round(places / PLACES_FOR_OTHERS),
      }),
    close: async () => {
      await wakeUp.close()
      await platform.notifications.close()
      await claimDb.close()
      await platform.db.close()
    },
  }
}

/** The ids that every call to the hub gets; made here because there is no HTTP request. */
function newCall(): NewJob['call'] {
  const requestId = newId()
  const traceId = randomBytes(16).toString('hex')
  return {
    requestId,
    correlationId: requestId,
    traceId,
    traceparent: `00-${traceId}-${traceId.slice(16)}-01`,
  }
}

export const DONE = { kind: 'done', result: null, why: 'The message was taken.' } as const

const openJobs = one<undefined, { readonly unfinished: number; readonly failed: number }>(
  'bench.open_jobs',
  `select (select count(*) from job_ready) + (select count(*) from job_run)
            + (select count(*) from job_deferred) as unfinished,
          (select count(*) from job_dead)
            + (select count(*) from job_attempt where outcome <> 'done') as failed`,
  () => [],
)

const isDrained = one<undefined, { readonly drained: boolean }>(
  'bench.is_drained',
  `select not exists (select from job_ready) and not exists (select from job_run) as drained`,
  () => [],
)

async function open({ databaseUrl }: { readonly databaseUrl: string }): Promise<Engine> {
  const queue = openOurQueue(databaseUrl)
  const { platform, wakeUp } = queue
  const { db } = platform
  const enqueuer = createEnqueuer(db, { wakeUp })
  const tenants = Array.from({ length: TENANTS }, () => newId())
  for (const tenantId of tenants) {
    await setTenantShare(db, { tenantId, maxRunning: CAP, weight: 1 })
    await setLaneCaps(db, { tenantId, caps: [{ lane: 1, max_running: CAP }] })
  }
  const jobOf = (item: Item) => queue.jobOf(item, tenants[item.n % TENANTS] ?? '')

  const startWorkers = async ({ concurrency, handler }: WorkerSettings) => {
    const runner = queue.createRunner(concurrency, async (job) => {
      await handler(job.input as Item)
      return DONE
    })
    await runner.start()
    return () => runner.stop(5_000)
  }

  return {
    enqueueOne: async (item) => {
      await enqueuer.enqueue(jobOf(item))
    },
    enqueueBatch: async (items) => {
      const jobs = items.map(jobOf)
      await enqueueJobs(db, jobs)
      wakeUp.hint(jobs)
    },
    startWorkers,
    drained: async () => (await isDrained(db, undefined)).drained,
    counts: () => openJobs(db, undefined),
    close: async () => {
      await enqueuer.close()
      await queue.close()
    },
  }
}

export const ours: Side = {
  configuration: `history, events, leases, turns over ${TENANTS} tenants, caps counted; enqueuer 100 rows × 3 in flight; pool ${POOL_SIZE} + ${QUEUE_CONNECTIONS}`,
  open,
}
