import { afterAll, beforeAll, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { manualClock } from '../../../testing/manual-clock.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { type Backlog, createBacklog, createWorkspace, setQuotas } from './workspaces.ts'

let database: TestDatabase
let tenantId: string
const clock = manualClock()
beforeAll(async () => {
  database = await testDatabase()
  const deps = { db: database.db, environment: 'dev' as const }
  tenantId = (await createWorkspace(deps, { slug: 'busy-dev', name: 'Busy' }, CHANGE)).id
  await setQuotas(deps, { id: tenantId, quotas: { jobs_waiting: 5 } }, CHANGE)
})
afterAll(() => database.drop())

const backlog = (): Backlog => createBacklog({ ...database.platform, clock })
const enqueue = (table: 'job_ready' | 'job_deferred') =>
  database.owner.execute(
    table === 'job_ready'
      ? {
          name: 't.ready',
          text: 'insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt) values (2, $1, 1, 2, $2, 1)',
        }
      : {
          name: 't.deferred',
          text: `insert into job_deferred (queue, tenant_id, lane, priority, job_id, attempt, run_at, cause)
                 values (2, $1, 1, 2, $2, 1, now() + interval '1 day', 'scheduled')`,
        },
    [tenantId, newId()],
  )
const refused = { code: 'backlog_full', extra: { members: { quota: 'jobs_waiting', limit: 5 } } }

it('counts ready and scheduled jobs and what was let in since, and hears of others after the next count', async () => {
  await enqueue('job_ready')
  await enqueue('job_deferred')
  const [one, other] = [backlog(), backlog()]
  await one.admit(tenantId, 3)
  await expect(one.admit(tenantId, 1)).rejects.toMatchObject(refused)
  // Another process has not heard of those: the overshoot that one interval allows.
  await other.admit(tenantId, 3)
  for (let job = 0; job < 6; job += 1) await enqueue('job_ready')

  await clock.advance(2_000)
  await expect
    .poll(() => other.admit(tenantId, 1).then(undefined, (error: unknown) => error))
    .toMatchObject({ ...refused, extra: { retryAfterSeconds: 2 } })

  await database.owner.execute({ name: 't.done', text: 'delete from job_ready where tenant_id = $1' }, [
    tenantId,
  ])
  await clock.advance(2_000)
  await expect
    .poll(() =>
      one.admit(tenantId, 1).then(
        () => 'taken',
        () => 'refused',
      ),
    )
    .toBe('taken')
})

it('of one workspace is nobody else’s', async () => {
  const room = backlog()
  await expect(room.admit(tenantId, 6)).rejects.toMatchObject(refused)
  await expect(room.admit(newId(), 6)).resolves.toBeUndefined()
})
