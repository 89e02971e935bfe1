import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { createDb } from '../../server/src/platform/db/db.ts'
import { newId } from '../../server/src/platform/ids.ts'
import { createLog } from '../../server/src/platform/log.ts'
import { createMetrics } from '../../server/src/platform/metrics.ts'
import { enqueueJobs } from '../../server/src/queue/enqueue.ts'
import type { NewJob } from '../../server/src/queue/job.ts'
import { type Child, startChild } from '../load/child.ts'
import type { BenchHub } from '../load/hub.ts'
import { countProcessorTime } from '../load/processor-time.ts'
import { eventBody, signedRequests } from '../load/stripe-events.ts'
import { type Case, CPU, RATE, type Run, type Sample } from './case.ts'

const OURS = 'ours'
/** Ordinary jobs with the same message as their input, on the same connector. */
const JOBS = 'ours-jobs'
const EVENTS = { full: 100_000, quick: 5_000 }
const SENDERS = 64
/** Workers start cold: the first part of a drain is not measured. */
const WARM_UP_SHARE = 0.1
const STUCK_MS = 20_000

interface Counts {
  readonly received: number
  readonly distinct: number
  readonly bytes: number
}

const countsOf = async (port: number): Promise<Counts> =>
  (await (await fetch(`http://127.0.0.1:${port}/`)).json()) as Counts

async function withClient<T>(connectionString: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** Accepts the events through the real ingress process while no worker runs. */
async function fillByWebhooks(hub: BenchHub, events: number): Promise<string[]> {
  const ingress = await hub.start('ingress')
  try {
    const { sendAll } = await import('../load/send-all.ts')
    const requests = signedRequests({
      port: ingress.port,
      path: '/webhooks/stripe',
      count: events,
      series: 'w',
    })
    const statuses = await sendAll(ingress.port, requests, SENDERS)
    const accepted = statuses['200'] ?? 0
    return accepted === events
      ? []
      : [`of ${events} events ${accepted} were accepted: ${JSON.stringify(statuses)}`]
  } finally {
    await ingress.stop()
  }
}

async function fillByJobs(hub: BenchHub, events: number, databaseUrl: string): Promise<string[]> {
  const lane = await withClient(databaseUrl, async (client) => {
    const { rows } = await client.query<{ lane: number; version: number }>(
      `select l.lane, p.version from connector_lane l join config_pointer p on p.tenant_id = l.tenant_id
       where l.tenant_id = $1 and l.connector = 'product'`,
      [hub.tenantId],
    )
    return rows[0] ?? Promise.reject(new Error('the connector has no lane'))
  })
  const db = createDb({
    url: databaseUrl,
    applicationName: 'bench',
    poolSize: 4,
    slowQueryMs: 60_000,
    log: createLog('bench', 'error'),
    metrics: createMetrics('bench', false),
  })
  const jobOf = (at: number): NewJob => ({
    id: newId(),
    tenantId: hub.tenantId,
    queue: 'webhook',
    lane: lane.lane,
    connector: 'product',
    operation: 'deliver',
    input: {
      type: 'stripe.invoice.paid',
      timestamp: new Date().toISOString(),
      data: {
        provider: 'stripe',
        event_id: `evt_${at}`,
        account: null,
        livemode: false,
        inbox_id: newId(),
        payload: JSON.parse(eventBody(String(at))),
      },
    },
    configVersion: lane.version,
    createdBy: 'svc:bench',
    call: {
      requestId: 'r',
      correlationId: 'c',
      traceId: 'a'.repeat(32),
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    },
  })
  try {
    for (let at = 0; at < events; at += 100)
      await enqueueJobs(
        db,
        Array.from({ length: Math.min(100, events - at) }, (_, each) => jobOf(at + each)),
      )
  } finally {
    await db.close()
  }
  return []
}

async function drained(run: Run, sink: { port: number }, events: number, from: () => void): Promise<void> {
  let last = -1
  let movedAt = performance.now()
  let begun = false
  while (performance.now() - movedAt < STUCK_MS) {
    const { distinct } = await countsOf(sink.port)
    if (!begun && distinct >= events * WARM_UP_SHARE) {
      begun = true
      from()
    }
    if (distinct !== last) {
      last = distinct
      movedAt = performance.now()
    }
    if (distinct >= events) break
    await delay(20)
  }
  // A delivery is over when its end is stored.
  for (const until = performance.now() + STUCK_MS; performance.now() < until; await delay(20))
    if ((await unfinished(run.databaseUrl)) === 0) return
}

const unfinished = (databaseUrl: string): Promise<number> =>
  withClient(databaseUrl, async (client) => {
    const { rows } = await client.query<{ n: string }>('select count(*) as n from open_job')
    return Number(rows[0]?.n)
  })

async function measure(run: Run): Promise<Sample> {
  const events = EVENTS[run.scale]
  const { openWebhookHub } = await import('../load/webhook-hub.ts')
  const sink: Child = startChild('delivery-sink.ts')
  try {
    const port = await sink.next<number>()
    const hub = await openWebhookHub(run, `http://127.0.0.1:${port}`)
    const problems = await (run.participant === JOBS
      ? fillByJobs(hub, events, run.databaseUrl)
      : fillByWebhooks(hub, events))
    if (problems.length > 0) return { metrics: {}, problems }
    const worker = await hub.start('worker')
    let begun = { at: Number.NaN, distinct: 0 }
    const count = await countProcessorTime(run.serverPids, [worker.pid])
    let seconds = Number.NaN
    let cpu = { cpu: Number.NaN, cpuServer: Number.NaN }
    try {
      await drained(run, { port }, events, () => {
        begun = { at: performance.now(), distinct: Math.ceil(events * WARM_UP_SHARE) }
      })
      seconds = (performance.now() - begun.at) / 1_000
      cpu = await count(events)
    } finally {
      await worker.stop()
    }
    const { received, distinct } = await countsOf(port)
    const [done, left] = await withClient(run.databaseUrl, async (client) => {
      const { rows } = await client.query<{ done: string; left: string }>(
        `select (select count(*) from job where state = 'done') as done, (select count(*) from open_job) as left`,
      )
      return [Number(rows[0]?.done), Number(rows[0]?.left)]
    })
    if (distinct !== events) problems.push(`the product got ${distinct} of ${events} events`)
    if (received !== events) problems.push(`the product got ${received} calls for ${events} events`)
    if (done !== events || left !== 0)
      problems.push(`${done} jobs are done and ${left} unfinished of ${events}`)
    return { metrics: { rate: (events - begun.distinct) / seconds, ...cpu }, problems }
  } finally {
    await sink.stop()
  }
}

export const webhookBacklog: Case = {
  id: 'wd',
  title:
    '100,000 events (quick: 5,000) accepted by the real ingress while no worker runs, then delivered to a local product by the real worker, every one counted; beside it as many ordinary jobs with the same message',
  participants: [OURS, JOBS],
  metrics: [{ key: 'rate', title: 'deliveries', ...RATE }, ...CPU],
  goals: [{ metric: 'rate', of: OURS, against: [JOBS], atLeast: 0.9 }],
  limitMs: { full: 230_000, quick: 90_000 },
  measure,
}
