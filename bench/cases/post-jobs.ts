import { Client } from 'pg'
import { startChild } from '../load/child.ts'
import type { HttpLoad } from '../load/http-load.ts'
import type { HttpLoadReport } from '../load/http-loops.ts'
import { countProcessorTime } from '../load/processor-time.ts'
import { itemOf } from '../sides/side.ts'
import { type Case, CPU, RATE, type Run, type Sample, TAIL_MS } from './case.ts'

const LIMIT = 'fastify-echo'
const TIMES = { full: { warmUpMs: 2_000, measureMs: 5_000 }, quick: { warmUpMs: 1_000, measureMs: 1_500 } }
const BODY = JSON.stringify({ connector: 'sms', operation: 'message.send', input: itemOf(1) })

async function send(load: Omit<HttpLoad, 'path' | 'body'>): Promise<HttpLoadReport> {
  const child = startChild('http-load.ts', [JSON.stringify({ ...load, path: '/jobs', body: BODY })])
  try {
    return await child.next<HttpLoadReport>()
  } finally {
    await child.stop()
  }
}

interface Target {
  readonly port: number
  readonly headers: Readonly<Record<string, string>>
}

/** The same load on either server, with few callers and with many. */
async function loadBoth(
  run: Run,
  target: Target,
  pids: { readonly clients: readonly number[]; readonly servers: readonly number[] },
): Promise<{ sample: Sample; accepted: number }> {
  const metrics: Record<string, number> = {}
  const problems: string[] = []
  let accepted = 0
  const count = await countProcessorTime(pids.servers, pids.clients)
  for (const connections of [64, 256]) {
    const report = await send({ ...target, ...TIMES[run.scale], connections })
    metrics[`rate${connections}`] = report.perSecond
    metrics[`p99${connections}`] = report.p99Ms
    accepted += report.statuses['202'] ?? 0
    const { 202: _accepted, ...others } = report.statuses
    for (const [status, count] of Object.entries(others)) problems.push(`${count} answers were ${status}`)
    if (report.failure) problems.push(report.failure)
  }
  return { sample: { metrics: { ...metrics, ...(await count(accepted)) }, problems }, accepted }
}

async function measureHub(run: Run): Promise<Sample> {
  // Only here: rivals need not load the whole product.
  const { smsConnector, startExecPlane } = await import('../load/hub.ts')
  const document = { policies: {}, connectors: { sms: smsConnector('http://127.0.0.1:9') } }
  const hub = await startExecPlane(run, { document, scopes: ['orchestrator.jobs.write'] })
  try {
    const { port, pid, token } = hub
    const target = { port, headers: { authorization: `Bearer ${token}` } }
    const { sample, accepted } = await loadBoth(run, target, { clients: [pid], servers: run.serverPids })
    const stored = await storedJobs(run.databaseUrl)
    const problems = stored === accepted ? [] : [`${accepted} jobs were accepted, ${stored} are in the store`]
    return { ...sample, problems: [...sample.problems, ...problems] }
  } finally {
    await hub.stop()
  }
}

async function storedJobs(connectionString: string): Promise<number> {
  const client = new Client({ connectionString })
  await client.connect()
  const { rows } = await client.query('select count(*)::int as jobs from job_ready')
  await client.end()
  return rows[0].jobs
}

async function measureEcho(run: Run): Promise<Sample> {
  const echo = startChild('echo.ts')
  try {
    const target = { port: await echo.next<number>(), headers: {} }
    return (await loadBoth(run, target, { clients: [echo.pid], servers: [] })).sample
  } finally {
    await echo.stop()
  }
}

export const postJobs: Case = {
  id: 'http',
  title:
    'POST /jobs on the real exec process, durable before the 202; limit: Fastify that echoes the same body',
  participants: ['ours', LIMIT],
  metrics: [
    { key: 'rate64', title: '64 callers', ...RATE },
    { key: 'p9964', title: 'p99', ...TAIL_MS },
    { key: 'rate256', title: '256 callers', ...RATE },
    { key: 'p99256', title: 'p99', ...TAIL_MS },
    ...CPU,
  ],
  goals: [
    { metric: 'rate64', of: 'ours', against: [LIMIT], atLeast: 0.3 },
    { metric: 'rate256', of: 'ours', against: [LIMIT], atLeast: 0.45 },
    { metric: 'p9964', of: 'ours', atMost: 10 },
  ],
  limitMs: { full: 120_000, quick: 60_000 },
  measure: (run) => (run.participant === LIMIT ? measureEcho(run) : measureHub(run)),
}
