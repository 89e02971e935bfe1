import { startChild } from '../load/child.ts'
import type { HttpLoad } from '../load/http-load.ts'
import type { HttpLoadReport } from '../load/http-loops.ts'
import type { HttpRate } from '../load/http-rate.ts'
import { findNginx, startNginx } from '../load/nginx.ts'
import { countProcessorTime } from '../load/processor-time.ts'
import type { RawRequest } from '../load/raw-http.ts'
import { itemOf } from '../sides/side.ts'
import { type Case, CPU, MEDIAN_MS, RATE, type Run, type Sample, TAIL_MS } from './case.ts'

const OURS = 'ours'
const KEYED = 'ours-keyed'
const BARE = 'fastify-undici'
const NGINX = 'nginx'
const TIMES = {
  full: { warmUpMs: 3_000, measureMs: 8_000 },
  quick: { warmUpMs: 1_500, measureMs: 3_000 },
}
const CONNECTIONS = 64
const PER_SECOND = 500
const INPUT = itemOf(1)
const EXECUTE = JSON.stringify({ connector: 'sms', operation: 'message.send', input: INPUT })
/** What the hub and the pass-through send on: who calls the upstream himself sends just this. */
const DIRECT = JSON.stringify(INPUT)

/**
 * Every rule of a usual policy is on and has room: the cost of deciding is measured, not of refusing. Without a key
 * the hub would refuse an operation with an effect, so it is excused from it here.
 */
const POLICY = {
  rate_limits: {
    workspace: { mode: 'enforce', permits: 1_000_000, period_ms: 1_000, burst: 1_000_000 },
    connector: { mode: 'enforce', permits: 1_000_000, period_ms: 1_000, burst: 1_000_000 },
  },
  bulkhead: { mode: 'enforce', max_in_flight: 1_000, workspace_max_in_flight: 1_000 },
  breaker: { mode: 'enforce' },
  idempotency: { required: false },
}

interface Target extends RawRequest {
  /** Does the work between the load and the upstream; absent when the load calls the upstream itself. */
  readonly pid?: number
  stop?(): Promise<void>
}

async function report(script: string, load: HttpLoad | HttpRate): Promise<HttpLoadReport> {
  const child = startChild(script, [JSON.stringify(load)])
  try {
    return await child.next<HttpLoadReport>()
  } finally {
    await child.stop()
  }
}

async function targetOf(run: Run, upstreamPort: number): Promise<Target> {
  const direct = { port: upstreamPort, path: '/messages', headers: {}, body: DIRECT }
  switch (run.participant) {
    case BARE: {
      const bare = startChild('pass-through.ts', [String(upstreamPort)])
      const port = await bare.next<number>()
      return { port, path: '/execute', headers: {}, body: EXECUTE, pid: bare.pid, stop: () => bare.stop() }
    }
    case NGINX: {
      const binary = await findNginx()
      if (binary === undefined) throw new Error('there is no nginx on this machine (NGINX or PATH)')
      const nginx = await startNginx(binary, run.folder, upstreamPort)
      return { ...direct, port: nginx.port, pid: nginx.pid, stop: nginx.stop }
    }
    case OURS:
    case KEYED: {
      // Only here: the others need not load the whole product.
      const { smsConnector, startExecPlane } = await import('../load/hub.ts')
      const connectors = { sms: smsConnector(`http://127.0.0.1:${upstreamPort}`) }
      const document = { policies: { default: POLICY }, connectors }
      const hub = await startExecPlane(run, { document, scopes: ['orchestrator.execute'] })
      return {
        port: hub.port,
        path: '/execute',
        headers: { authorization: `Bearer ${hub.token}` },
        body: EXECUTE,
        ...(run.participant === KEYED && { uniqueHeader: 'idempotency-key' }),
        pid: hub.pid,
        stop: hub.stop,
      }
    }
    default:
      return direct
  }
}

async function measure(run: Run): Promise<Sample> {
  const upstream = startChild('upstream.ts')
  const problems: string[] = []
  let answered = 0
  const counted = async (script: string, load: HttpLoad | HttpRate): Promise<HttpLoadReport> => {
    const one = await report(script, load)
    answered += one.statuses['200'] ?? 0
    const { 200: _ok, ...others } = one.statuses
    for (const [status, count] of Object.entries(others)) problems.push(`${count} answers were ${status}`)
    if (one.failure) problems.push(one.failure)
    return one
  }
  let target: Target | undefined
  try {
    const port = await upstream.next<number>()
    const direct: RawRequest = { port, path: '/messages', headers: {}, body: DIRECT }
    target = await targetOf(run, port)
    const { pid, stop: _stop, ...request } = target
    const steady = { ...TIMES[run.scale], perSecond: PER_SECOND, connections: CONNECTIONS }
    // The same minute, the same upstream: what is added is the difference.
    const alone = pid === undefined ? undefined : await counted('http-rate.ts', { ...direct, ...steady })
    const fixed = await counted('http-rate.ts', { ...request, ...steady })
    const before = answered
    const count = await countProcessorTime(
      run.participant.startsWith(OURS) ? run.serverPids : [],
      pid === undefined ? [] : [pid],
    )
    const full = await counted('http-load.ts', { ...request, ...TIMES[run.scale], connections: CONNECTIONS })
    const cpu = await count(answered - before)
    const received = await receivedBy(port)
    if (received !== answered) problems.push(`${answered} calls were answered, the upstream got ${received}`)
    return {
      metrics: {
        rate: full.perSecond,
        p50: fixed.p50Ms,
        p99: fixed.p99Ms,
        ...(alone && { added: fixed.p50Ms - alone.p50Ms }),
        ...cpu,
      },
      problems,
    }
  } finally {
    await target?.stop?.()
    await upstream.stop()
  }
}

async function receivedBy(port: number): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}/`)
  return ((await answer.json()) as { received: number }).received
}

export const execute: Case = {
  id: 'x',
  title:
    'POST /execute through the whole pipeline (token, limits, bulkhead, breaker, log) to an upstream that answers at once; beside it the same upstream called directly, through bare Fastify + undici, and through nginx',
  participants: [OURS, KEYED, BARE, NGINX, 'direct'],
  metrics: [
    { key: 'rate', title: `${CONNECTIONS} callers`, ...RATE },
    { key: 'p50', title: `p50 at ${PER_SECOND}/s`, ...MEDIAN_MS },
    { key: 'p99', title: `p99 at ${PER_SECOND}/s`, ...TAIL_MS },
    { key: 'added', title: 'p50 over direct', ...MEDIAN_MS },
    ...CPU,
  ],
  goals: [
    { metric: 'rate', of: OURS, against: [BARE], atLeast: 0.7 },
    { metric: 'added', of: OURS, atMost: 0.5 },
    { metric: 'p99', of: OURS, against: [BARE], atMost: 2 },
    { metric: 'rate', of: KEYED, against: [OURS], atLeast: 0.5 },
  ],
  limitMs: { full: 120_000, quick: 60_000 },
  measure,
}
