import { Client } from 'pg'
import { newId } from '../../server/src/platform/ids.ts'
import { claimJobs } from '../../server/src/queue/claim.ts'
import { enqueueJobs } from '../../server/src/queue/enqueue.ts'
import type { NewJob } from '../../server/src/queue/job.ts'
import { createLanes, type Grant } from '../../server/src/queue/lanes.ts'
import { beatNode } from '../../server/src/queue/node.sql.ts'
import { QUEUE_SESSION } from '../../server/src/queue/queue.ts'
import { settleJobs } from '../../server/src/queue/settle.ts'
import { DONE, type OurQueue, openOurQueue } from '../sides/ours.ts'
import { itemOf } from '../sides/side.ts'
import { median, percentile, sorted } from '../statistics.ts'
import { type Case, MEDIAN_MS, type Run, type Sample, type Scale, TAIL_MS } from './case.ts'

const TENANTS = 100
const PER_CLAIM = 100
const CLAIMS = { full: 300, quick: 60 }
const EXPLAINED = 20
const BACKLOGS: Readonly<Record<string, Readonly<Record<Scale, number>>>> = {
  'ours, nothing waits': { full: 0, quick: 0 },
  'ours, 100k wait': { full: 100_000, quick: 10_000 },
  'ours, 1M wait': { full: 1_000_000, quick: 50_000 },
}
const [NONE = '', SOME = '', MANY = ''] = Object.keys(BACKLOGS)

/** Jobs of all tenants in turn. */
function createStock(queue: OurQueue) {
  const tenants = Array.from({ length: TENANTS }, () => newId())
  let n = 0
  const next = (): NewJob => queue.jobOf(itemOf(n), tenants[n++ % TENANTS] ?? '')
  const add = async (jobs: number): Promise<void> => {
    await enqueueJobs(queue.platform.db, Array.from({ length: jobs }, next))
  }
  return {
    tenants,
    add,
    fill: async (jobs: number): Promise<void> => {
      let left = jobs
      const filler = async (): Promise<void> => {
        while (left > 0) {
          left -= 1_000
          await add(1_000)
        }
      }
      await Promise.all([filler(), filler(), filler()])
    },
  }
}

async function measureClaims(run: Run): Promise<Sample> {
  const queue = openOurQueue(run.databaseUrl)
  try {
    const stock = createStock(queue)
    await stock.fill(BACKLOGS[run.participant]?.[run.scale] ?? 0)
    const nodeId = newId()
    const lanes = createLanes(() => performance.now())
    const took: number[] = []
    const problems: string[] = []
    const plan = async (): Promise<Grant[]> => {
      // What a claim takes is put back, so that the backlog stays what it is.
      await stock.add(PER_CLAIM)
      lanes.hint(stock.tenants.map((tenantId) => ({ queue: 'default', tenantId, lane: 1 })))
      await beatNode(queue.claimDb, { nodeId, host: 'bench', capacity: PER_CLAIM, oldestLease: 0 })
      return lanes.plan({ shared: PER_CLAIM, reserved: 0, turn: 2 })
    }
    for (let claim = 0; claim < CLAIMS[run.scale]; claim += 1) {
      const grants = await plan()
      const started = performance.now()
      const { jobs, answers } = await claimJobs(queue.claimDb, { nodeId, grants, maxRunMs: 300_000 })
      took.push(performance.now() - started)
      lanes.answered(grants, answers)
      if (jobs.length === 0) problems.push('a claim found nothing although jobs waited')
      await settleJobs(
        queue.claimDb,
        jobs.map(({ job }) => ({ job, outcome: DONE })),
      )
    }
    const buffers = await explainClaims(run, nodeId, plan)
    // The first tenth is for the plans and caches to come up.
    const ascending = sorted(took.slice(took.length / 10))
    return {
      metrics: {
        p50: percentile(ascending, 0.5),
        p99: percentile(ascending, 0.99),
        buffers: median(buffers),
      },
      problems,
    }
  } finally {
    await queue.close()
  }
}

/** Pages that a claim touches; unlike the time it does not depend on what else the machine does. */
async function explainClaims(run: Run, nodeId: string, plan: () => Promise<Grant[]>): Promise<number[]> {
  const options = Object.entries(QUEUE_SESSION).map(([name, value]) => `-c ${name}=${value}`)
  const client = new Client({ connectionString: run.databaseUrl, options: options.join(' ') })
  await client.connect()
  try {
    const buffers: number[] = []
    for (let claim = 0; claim < EXPLAINED; claim += 1) {
      const grants = await plan()
      const lanes = grants.map(({ tenantId, lane, take, low }, ord) => ({
        ...{ ord, queue: 2, tenant_id: tenantId, lane, take, low },
      }))
      const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: Record<string, number> }] }>(
        'explain (analyze, buffers, format json) select claim_jobs($1, $2, $3::json, 300000)',
        [nodeId, [...new Set(grants.map(({ tenantId }) => tenantId))], JSON.stringify(lanes)],
      )
      const plan_ = rows[0]?.['QUERY PLAN'][0].Plan ?? {}
      buffers.push((plan_['Shared Hit Blocks'] ?? 0) + (plan_['Shared Read Blocks'] ?? 0))
    }
    return buffers
  } finally {
    await client.end()
  }
}

const flat = (metric: string, other: string) => ({ metric, of: other, against: [NONE], atMost: 1.2 }) as const

export const claimCost: Case = {
  id: 'f',
  title: `One claim of ${PER_CLAIM} jobs from ${TENANTS} tenants, by backlog`,
  participants: Object.keys(BACKLOGS),
  metrics: [
    { key: 'p50', title: 'p50', ...MEDIAN_MS },
    { key: 'p99', title: 'p99', ...TAIL_MS },
    { key: 'buffers', title: 'pages touched', unit: '', better: 'lower', steadiness: 1.5 },
  ],
  goals: [flat('p50', SOME), flat('buffers', SOME), flat('p50', MANY), flat('buffers', MANY)],
  limitMs: { full: 600_000, quick: 120_000 },
  measure: measureClaims,
}
