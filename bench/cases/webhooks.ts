import { Client } from 'pg'
import { startChild } from '../load/child.ts'
import type { HttpLoadReport } from '../load/http-loops.ts'
import { countProcessorTime } from '../load/processor-time.ts'
import type { WebhookLoad } from '../load/webhook-load.ts'
import { type Case, CPU, MEDIAN_MS, RATE, type Run, type Sample, TAIL_MS } from './case.ts'

const OURS = 'ours'
const HANDLER = 'fastify-insert'
const TIMES = {
  full: { warmUpMs: 2_000, measureMs: 5_000 },
  quick: { warmUpMs: 1_000, measureMs: 2_000 },
}
const CONNECTIONS = 64
/** More than either can take in the time; signed before. */
const MOST_PER_SECOND = 20_000

interface Server {
  readonly port: number
  readonly pid: number
  /** How many events are in the store, complete with everything that belongs to one. */
  stored(): Promise<readonly number[]>
  stop(): Promise<void>
}

async function query(connectionString: string, text: string): Promise<readonly number[]> {
  const client = new Client({ connectionString })
  await client.connect()
  try {
    const { rows } = await client.query<Record<string, string>>(text)
    return Object.values(rows[0] ?? {}).map(Number)
  } finally {
    await client.end()
  }
}

async function start(run: Run): Promise<Server> {
  const { databaseUrl } = run
  if (run.participant === HANDLER) {
    const handler = startChild('webhook-handler.ts', [databaseUrl])
    return {
      port: await handler.next<number>(),
      pid: handler.pid,
      stored: () => query(databaseUrl, 'select count(*) from webhook_event'),
      stop: () => handler.stop(),
    }
  }
  // Only here: others need not load the whole product.
  const { openWebhookHub } = await import('../load/webhook-hub.ts')
  const hub = await openWebhookHub(run, 'http://127.0.0.1:9')
  return {
    ...(await hub.start('ingress')),
    stored: () =>
      query(
        databaseUrl,
        `select (select count(*) from webhook_inbox where state = 'accepted'), (select count(*) from webhook_payload),
                (select count(*) from webhook_dedupe), (select count(*) from job), (select count(*) from job_ready),
                (select count(*) from event where type = 'webhook.received'),
                (select count(*) from event where type = 'job.queued')`,
      ),
  }
}

async function send(load: WebhookLoad): Promise<HttpLoadReport> {
  const child = startChild('webhook-load.ts', [JSON.stringify(load)])
  try {
    await child.next()
    const report = child.next<HttpLoadReport>()
    child.send('go')
    return await report
  } finally {
    await child.stop()
  }
}

async function measure(run: Run): Promise<Sample> {
  const server = await start(run)
  const problems: string[] = []
  let accepted = 0
  const sent = async (load: Omit<WebhookLoad, 'port' | 'path' | 'connections'>): Promise<HttpLoadReport> => {
    const report = await send({
      ...load,
      port: server.port,
      path: '/webhooks/stripe',
      connections: CONNECTIONS,
    })
    accepted += report.statuses['200'] ?? 0
    const { 200: _ok, ...others } = report.statuses
    for (const [status, count] of Object.entries(others)) problems.push(`${count} answers were ${status}`)
    if (report.failure) problems.push(report.failure)
    return report
  }
  try {
    const times = TIMES[run.scale]
    const seconds = (times.warmUpMs + times.measureMs) / 1_000
    const count = await countProcessorTime(run.serverPids, [server.pid])
    const full = await sent({ ...times, series: 'a', count: Math.ceil(MOST_PER_SECOND * seconds) })
    const cpu = await count(accepted)
    const perSecond = Math.round(full.perSecond / 2)
    const half = await sent({
      ...times,
      series: 'b',
      count: Math.ceil(perSecond * seconds) + 1_000,
      perSecond,
    })
    for (const stored of await server.stored())
      if (stored !== accepted) problems.push(`${accepted} events were accepted, ${stored} are in the store`)
    return { metrics: { rate: full.perSecond, p50: half.p50Ms, p99: half.p99Ms, ...cpu }, problems }
  } finally {
    await server.stop()
  }
}

export const webhooks: Case = {
  id: 'w',
  title:
    'Signed Stripe events of 2 kB through the real ingress process (verified; dedupe key, inbox row, payload, events and delivery job committed before the 200); beside it Fastify that verifies and inserts one row per request, on the same Postgres',
  participants: [OURS, HANDLER],
  metrics: [
    { key: 'rate', title: `${CONNECTIONS} callers`, ...RATE },
    { key: 'p50', title: 'p50 at half of that', ...MEDIAN_MS },
    { key: 'p99', title: 'p99 at half of that', ...TAIL_MS },
    ...CPU,
  ],
  goals: [
    { metric: 'rate', of: OURS, against: [HANDLER], atLeast: 2 },
    { metric: 'p99', of: OURS, atMost: 10 },
  ],
  limitMs: { full: 120_000, quick: 60_000 },
  measure,
}
