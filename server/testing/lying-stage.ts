/** A stage whose hub answers as a sound one does, but for one lie: what each check of the onboarding list must notice. */
import { createHmac } from 'node:crypto'
import type { PlaneAnswer, PlaneCall, PlaneClient } from '../src/features/onboarding/plane-client.ts'
import { refusal } from '../src/features/onboarding/plane-client.ts'
import type { Stage } from '../src/features/onboarding/stage.ts'
import { accountOf, CONNECTORS, secretNamesOf } from '../src/features/onboarding/stage-names.ts'
import { EMITTED } from '../src/features/onboarding/stage-objects.ts'
import type { Clock } from '../src/platform/clock.ts'
import { Secret } from '../src/platform/secret.ts'

export type PlaneName = 'control' | 'exec' | 'ingress' | 'neighbourControl' | 'neighbourExec'

interface Answer {
  readonly status: number
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** What a plane says instead of `honest`, where it matches. */
export interface Lie {
  readonly plane?: PlaneName
  readonly path?: RegExp
  /** Of the body that was sent. */
  readonly sent?: RegExp
  readonly token?: string | null
  readonly answer?: (honest: Answer) => Answer
  readonly stage?: Partial<Stage>
  /** What the target says that has reached it. */
  readonly seen?: (name: string, count: number) => number
  readonly signing?: string
}

const RUN = '01990000-0000-7000-8000-0123456789ab'
const TRACE = 'a'.repeat(32)
const SIGNING = `whsec_${Buffer.from('signing').toString('base64')}`

/** Time passes only by sleeping. */
function sleepingClock(): Clock {
  let elapsed = 0
  return {
    now: () => 1_800_000_000_000 + elapsed,
    monotonic: () => elapsed,
    sleep: async (ms) => {
      elapsed += ms
    },
    after: () => () => undefined,
  }
}

const absent: Answer = { status: 404, body: { code: 'not_found' } }
const noConnector: Answer = { status: 404, body: { code: 'connector_not_found' } }
const list = (...data: unknown[]): Answer => ({ status: 200, body: { data, next_cursor: null } })

export function lyingStage(lie: Lie = {}): Stage {
  const clock = sleepingClock()
  const account = accountOf(RUN)
  const names = secretNamesOf(RUN)
  const seen = new Map<string, number>()
  const reached = (name: string): void => {
    seen.set(name, (seen.get(name) ?? 0) + 1)
  }
  let hangs = 0
  let few = 0
  let webhooks = 0

  const execute = (body: string, keyed: boolean): Answer => {
    const { connector, operation } = JSON.parse(body) as { connector: string; operation: string }
    if (operation === 'wait') {
      hangs += 1
      if (hangs > 2) return { status: 503, body: { code: 'circuit_open' } }
      for (let attempt = 0; attempt < 3; attempt += 1) reached('slow')
      return { status: 504, body: { code: 'upstream_timeout' } }
    }
    if (connector === CONNECTORS.few) {
      few += 1
      if (few > 4) return { status: 429, body: { code: 'rate_limited' } }
    }
    const replayed = keyed && seen.has('take')
    if (keyed && !replayed) reached('take')
    const output = { ok: true }
    const found = { output, upstream: { http_status: 200 }, idempotency: { replayed }, trace_id: TRACE }
    return { status: 200, body: { ...found, served_from: 'dry_run' } }
  }
  const types = (path: string): string[] => {
    if (path.includes('job_id')) return ['job.queued', 'job.succeeded']
    return path.includes(TRACE)
      ? ['webhook.received', 'job.queued', 'job.succeeded', EMITTED]
      : ['webhook.duplicate']
  }
  const byToken = (token: string | null | undefined, own: string, answer: Answer): Answer =>
    token === undefined || token === own ? answer : { status: 401, body: { code: 'unauthorized' } }

  const honest: Record<PlaneName, (path: string, body: string, call: PlaneCall) => Answer> = {
    control: (path, _body, { token }) => {
      if (path.startsWith('/configs/active'))
        return {
          status: 200,
          body: { version: 1, document: { policies: {}, connectors: { mine: { kind: 'http' } } } },
        }
      if (path.startsWith('/configs')) return byToken(token, 'of control', list())
      if (path.startsWith('/connectors/')) return { status: 200, body: { operations: [{ name: 'ping' }] } }
      if (path.startsWith('/policies'))
        return {
          status: 200,
          body: {
            policy: {
              timeouts: {},
              retry: { max_attempts: 3 },
              breaker: { mode: 'enforce', consecutive_failures: 5 },
            },
            sources: { 'timeouts.attempt_ms': 'workspace' },
          },
        }
      if (path.startsWith('/secret-refs')) return list({ name: names.signing }, { name: names.webhook })
      if (path.startsWith('/webhook-inbox')) return list({ id: 'inbox', account })
      return list(...types(path).map((type) => ({ type, job_id: 'job' })))
    },
    exec: (path, body, { token, headers }) => {
      if (path === '/execute') return execute(body, headers?.['idempotency-key'] !== undefined)
      if (path === '/jobs') return { status: 202, body: { job_id: 'job', trace_id: TRACE } }
      if (path.startsWith('/jobs/')) return { status: 200, body: { job: { state: 'done' } } }
      const events = ['job.queued', 'job.succeeded'].map((type) => ({ id: 'e', type, job_id: 'job' }))
      return byToken(token, 'of exec', list(...events))
    },
    ingress: (_path, body) => {
      if (body.includes(`${account}stranger`))
        return { status: 202, body: { received: true, quarantined: true } }
      webhooks += 1
      const first = webhooks === 1
      if (first) reached('callback')
      const trace = first ? TRACE : 'b'.repeat(32)
      return {
        status: 200,
        body: { inbox_id: 'inbox', duplicate: !first },
        headers: { traceparent: `00-${trace}-${'1'.repeat(16)}-01` },
      }
    },
    neighbourControl: (path) =>
      path.startsWith('/jobs/') || path.startsWith('/secret-refs/') ? absent : list(),
    neighbourExec: (path, body) => {
      if (path.startsWith('/jobs/')) return absent
      if (path !== '/execute') return list()
      return body.includes(CONNECTORS.few) ? { status: 200, body: {} } : noConnector
    },
  }

  const plane = (name: PlaneName): PlaneClient => {
    const call = async <Body>(path: string, options: PlaneCall = {}): Promise<PlaneAnswer<Body>> => {
      const body = typeof options.body === 'string' ? options.body : JSON.stringify(options.body ?? null)
      const answer = honest[name](path, body, options)
      const lied =
        lie.plane === name &&
        (lie.path?.test(path) ?? true) &&
        (lie.sent?.test(body) ?? true) &&
        (lie.token === undefined || lie.token === options.token)
      const said = lied ? (lie.answer?.(answer) ?? answer) : answer
      return { status: said.status, headers: new Headers(said.headers), body: (said.body ?? {}) as Body }
    }
    return {
      call,
      want: async <Body>(path: string, options?: PlaneCall) => {
        const answer = await call<Body>(path, options)
        if (answer.status >= 300) throw refusal(answer, `${name} answered ${answer.status} to ${path}`)
        return answer.body
      },
    }
  }

  const callback = () => {
    const timestamp = String(Math.floor(clock.now() / 1_000))
    const body = '{"type":"done"}'
    const key = Buffer.from((lie.signing ?? SIGNING).slice('whsec_'.length), 'base64')
    const signature = createHmac('sha256', key).update(`msg.${timestamp}.${body}`).digest('base64')
    const signed = { 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` }
    return {
      name: 'callback',
      body,
      headers: { 'webhook-id': 'msg', ...signed, traceparent: `00-${TRACE}-${'2'.repeat(16)}-01` },
    }
  }
  const exec = plane('exec')
  return {
    runId: RUN,
    subject: { tenantId: RUN, slug: 'shop-dev', environment: 'dev' },
    urls: { control: '', exec: '', ingress: '', worker: '' },
    clock,
    signal: new AbortController().signal,
    reason: 'a test',
    control: plane('control'),
    ingress: plane('ingress'),
    parts: {
      tokens: { control: 'of control', exec: 'of exec' },
      exec,
      secrets: { signing: SIGNING, webhook: 'whsec_d2ViaG9vaw==', account },
      neighbour: { slug: 'n-dev', control: plane('neighbourControl'), exec: plane('neighbourExec') },
      target: {
        baseUrl: `http://target/runs/${RUN}`,
        seen: async (name) => {
          const count = seen.get(name) ?? 0
          return Array.from({ length: lie.seen?.(name, count) ?? count }, callback)
        },
        mend: async () => undefined,
        close: async () => undefined,
      },
    },
    trail: { jobId: 'job', traceId: TRACE },
    sweep: async () => undefined,
    signOn: async () => undefined,
    openTarget: async () => undefined,
    addObjects: async () => undefined,
    enterNeighbour: async () => undefined,
    readSecret: async () => [new Secret('a value that is long')],
    search: {
      database: async () => ({ hits: [], looked: 1, left: [] }),
      log: async () => ({ hits: [], looked: 1, left: [] }),
    },
    retention: { kept: 'events 30 days', isLed: async () => true },
    ...lie.stage,
  }
}
