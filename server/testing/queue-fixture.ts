import { createHash } from 'node:crypto'
import { createDb, type Db } from '../src/platform/db/db.ts'
import { many, one, run } from '../src/platform/db/statement.ts'
import { newId } from '../src/platform/ids.ts'
import { type Claim, claimJobs } from '../src/queue/claim.ts'
import type { LaneKey, NewJob } from '../src/queue/job.ts'
import { beatNode } from '../src/queue/node.sql.ts'
import { QUEUE_SESSION } from '../src/queue/queue.ts'
import { type TestDatabase, testDatabase } from './database.ts'

export interface QueueFixture extends TestDatabase {
  /** With index plans forced, as the workers have it. */
  readonly claimDb: Db
}

/** A database for tests of the queue. */
export async function queueFixture(poolSize = 10): Promise<QueueFixture> {
  const database = await testDatabase()
  const { log, metrics } = database.platform
  const claimDb = createDb({
    url: database.url,
    applicationName: 'test claims',
    poolSize,
    slowQueryMs: 60_000,
    log,
    metrics,
    session: QUEUE_SESSION,
  })
  return {
    ...database,
    claimDb,
    drop: async () => {
      await claimDb.close()
      await database.drop()
    },
  }
}

export const hashOf = (text: string): Buffer => createHash('sha256').update(text).digest()

/** A valid job of a workspace; lane 1 of the default queue unless told otherwise. */
export function sampleJob(job: Partial<NewJob> & { readonly tenantId: string }): NewJob {
  return {
    id: newId(),
    queue: 'default',
    lane: 1,
    connector: 'crm',
    operation: 'contact.create',
    input: { name: 'Ada' },
    configVersion: 1,
    createdBy: 'svc:tests',
    call: { requestId: 'req-1', correlationId: 'cor-1', traceId: 'a'.repeat(32), traceparent: '' },
    ...job,
  }
}

export const laneOfJob = ({ queue, tenantId, lane }: LaneKey): LaneKey => ({ queue, tenantId, lane })

/** Registers a node that claims by hand. */
export async function registerNode(db: Db, nodeId = newId()): Promise<string> {
  await beatNode(db, { nodeId, host: 'test', capacity: 100, oldestLease: 0 })
  return nodeId
}

/** One claim from one lane, from its very beginning. */
export const claimLane = (db: Db, nodeId: string, lane: LaneKey, take = 10): Promise<Claim> =>
  claimJobs(db, { nodeId, maxRunMs: 60_000, grants: [{ ...laneOfJob(lane), take, low: [0, 0, 0, 0] }] })

interface Whereabouts {
  readonly state: string
  readonly ready: number
  readonly run: number
  readonly deferred: number
  readonly dead: number
}

/** In which tables a job has rows. */
export const whereIs = one<{ readonly tenantId: string; readonly id: string }, Whereabouts>(
  'test.where_is',
  `select state,
          (select count(*) from job_ready r where r.tenant_id = $1 and r.job_id = $2) as ready,
          (select count(*) from job_run r where r.tenant_id = $1 and r.job_id = $2) as run,
          (select count(*) from job_deferred r where r.tenant_id = $1 and r.job_id = $2) as deferred,
          (select count(*) from job_dead r where r.tenant_id = $1 and r.job_id = $2) as dead
   from job where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

/** Jobs that break invariant 1 of `queue.ts`; must be none at any time. */
export const misplacedJobs = many<undefined, { readonly id: string; readonly state: string }>(
  'test.misplaced',
  `select j.id, j.state
   from job j
   cross join lateral (
     select (select count(*) from job_ready r where r.tenant_id = j.tenant_id and r.job_id = j.id) as ready,
            (select count(*) from job_run r where r.tenant_id = j.tenant_id and r.job_id = j.id) as run,
            (select count(*) from job_deferred r where r.tenant_id = j.tenant_id and r.job_id = j.id) as deferred,
            (select count(*) from job_dead r where r.tenant_id = j.tenant_id and r.job_id = j.id) as dead
   ) as n
   where case j.state
           when 'queued' then ready + run + deferred <> 1 or dead <> 0
           when 'cancelled' then run + deferred + dead <> 0 or ready > 1
           when 'dead' then ready + run + deferred <> 0 or dead <> 1
           else ready + run + deferred + dead <> 0 end`,
  () => [],
)

export const eventsOf = many<
  { readonly id: string },
  { readonly type: string; readonly message: string; readonly data: Record<string, unknown> }
>('test.events_of', 'select type, message, data from event where job_id = $1 order by seq', ({ id }) => [id])

/** Makes everything deferred of a workspace due now. */
export const makeDue = run<{ readonly tenantId: string }>(
  'test.make_due',
  `update job_deferred set run_at = clock_timestamp() - interval '1 millisecond' where tenant_id = $1`,
  ({ tenantId }) => [tenantId],
)

/** A node that has stopped beating long ago. */
export const silence = run<{ readonly nodeId: string }>(
  'test.silence',
  `update node set beat_at = clock_timestamp() - interval '1 hour' where node_id = $1`,
  ({ nodeId }) => [nodeId],
)

/** Forgets every job, so that a runner of the next test finds only that test's jobs. */
export const clearQueue = run<undefined>(
  'test.clear_queue',
  'truncate job, job_payload, job_ready, job_run, job_deferred, job_dead, job_attempt, job_expiry, idem, node',
  () => [],
)
