import { many, type Queryable } from '../../server/src/platform/db/statement.ts'
import { type Settled, type Settlement, settleJobs as settleReal } from '../../server/src/queue/settle.ts'

export * from '../../server/src/queue/settle.ts'

const leasesNow = many<{ readonly jobs: readonly string[] }, { job_id: string; lease_id: number }>(
  'planted.leases_now',
  'select job_id, lease_id from job_run where job_id = any ($1::uuid[])',
  ({ jobs }) => [jobs],
)

/** As the real one, but it looks the lease up instead of naming its own: a settlement by job alone. */
export async function settleJobs(on: Queryable, settlements: readonly Settlement[]): Promise<Settled[]> {
  const rows = await leasesNow(on, { jobs: settlements.map(({ job }) => job.id) })
  const now = new Map(rows.map(({ job_id, lease_id }) => [job_id, lease_id]))
  const own = new Map(settlements.map(({ job }) => [job.id, job]))
  const taken = settlements.map((settlement) => {
    const leaseId = now.get(settlement.job.id) ?? settlement.job.leaseId
    return { ...settlement, job: { ...settlement.job, leaseId } }
  })
  const settled = await settleReal(on, taken)
  return settled.map((each) => ({ ...each, job: own.get(each.job.id) ?? each.job }))
}
