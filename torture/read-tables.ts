import type { Database } from './database.ts'
import type { AttemptRow, JobRow, PlaceRow, Tables } from './history.ts'

const ms = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`

/** The tables of the hub as they are now, in the shape of the history. */
export async function readTables(database: Database): Promise<Tables> {
  const jobs = await database.query<JobRow>(
    `select j.tenant_id as tenant, j.id, j.queue, j.priority, j.connector, j.state, ${ms('j.expires_at')} as expires, j.attempts, j.idempotency_key as key,
            p.metadata ->> 'send' as send, p.metadata ->> 'callback_of' as callback_of,
            coalesce(p.completion ->> 'callback', '') <> '' as wants_callback
     from job j left join job_payload p on p.tenant_id = j.tenant_id and p.job_id = j.id`,
  )
  const attempts = await database.query<AttemptRow>(
    `select tenant_id as tenant, job_id as job, lease_id::float8 as lease, attempt, node_id as node, outcome,
            ${ms('started_at')} as started, ${ms('ended_at')} as ended, error_class as error
     from job_attempt`,
  )
  const places = await database.query<PlaceRow>(
    `select tenant_id as tenant, job_id as job, 'ready' as place, null::float8 as started from job_ready
     union all select tenant_id, job_id, 'deferred', null from job_deferred
     union all select tenant_id, job_id, 'run', ${ms('started_at')} from job_run`,
  )
  const dead = await database.query<Tables['dead'][number]>('select job_id as job, reason from job_dead')
  const events = await database.query<{ job: string; type: string; count: number }>(
    `select job_id as job, type, count(*)::int as count from event where job_id is not null group by 1, 2`,
  )
  return { jobs, attempts, places, dead, events, readAt: Date.now() }
}
