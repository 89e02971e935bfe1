import type { Case } from './case.ts'
import { claimCost } from './claim-cost.ts'
import { drainHttp } from './drain-http.ts'
import { drainNoOp } from './drain-no-op.ts'
import { enqueueBatch } from './enqueue-batch.ts'
import { enqueueOne } from './enqueue-one.ts'
import { execute } from './execute.ts'
import { oneBigTenant } from './one-big-tenant.ts'
import { pinnedSnapshot } from './pinned-snapshot.ts'
import { postJobs } from './post-jobs.ts'
import { startLatency, startLatencyApart } from './start-latency.ts'
import { walPerJob } from './wal-per-job.ts'
import { webhookBacklog } from './webhook-backlog.ts'
import { webhooks } from './webhooks.ts'

/** In the order of the report. */
export const CASES: readonly Case[] = [
  enqueueOne,
  postJobs,
  execute,
  webhooks,
  webhookBacklog,
  enqueueBatch,
  drainNoOp,
  drainHttp,
  startLatency,
  startLatencyApart,
  claimCost,
  pinnedSnapshot,
  oneBigTenant,
  walPerJob,
]
