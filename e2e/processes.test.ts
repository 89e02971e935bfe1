/**
 * Five processes on one database, as in production: each lives and dies alone. Their login may nothing but step down to
 * the roles of the hub (docs/database.md).
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type DemoProduct, startDemoProduct } from '../server/src/commands/demo/product.ts'
import { sendStripeEvent, signedStripeEvent } from '../server/src/commands/demo/stripe-event.ts'
import { emptyDatabase } from '../server/testing/database.ts'
import { type Login, memberLogin } from '../server/testing/member-login.ts'
import { type Answer, call } from './hub-client.ts'
import {
  freePorts,
  type HubHome,
  hubHome,
  ROLES,
  type Role,
  type RunningCommand,
  runCli,
  startRole,
  tokenFor,
} from './hub-process.ts'
import { processesOf } from './process-scan.ts'
import { type Sink, sinkConnector, startSink, taking } from './sink.ts'

const WITHIN = { timeout: 20_000, interval: 50 }
const EXECUTION: readonly Role[] = ['exec', 'worker', 'ingress']
const SLUG = 'shop-dev'
const SIGNING_SECRET = `whsec_${Buffer.from('a key for callbacks, 24+ bytes').toString('base64')}`
const STRIPE_SECRET = 'whsec_of_the_provider_4eC39HqLyjWDarjt'
const reason = 'end to end'

let database: { readonly url: string; drop(): Promise<void> }
let login: Login
let home: HubHome
let sink: Sink
/** Where the connector points after an operator has moved it. */
let otherSink: Sink
let product: DemoProduct
const running = new Map<Role, RunningCommand>()
const tokens = { exec: '', control: '' }

beforeAll(async () => {
  database = await emptyDatabase()
  // Exec and worker are two Node processes without a Redis.
  login = await memberLogin(database.url)
  home = await hubHome({ DATABASE_URL: login.url, DATABASE_OWNER_URL: database.url, LIMITS: 'per-node' })
  sink = await startSink()
  otherSink = await startSink()
  product = await startDemoProduct({ port: 0, signingSecret: SIGNING_SECRET })
})
afterAll(async () => {
  await Promise.all([sink.stop(), otherSink.stop(), product.stop()])
  await home.remove()
  await database.drop()
  await login.drop()
})

const start = async (role: Role): Promise<void> => {
  running.set(role, await startRole(home, role))
}
const control = <Body>(path: string, options: Parameters<typeof call>[1] = {}) =>
  call<Body>(`${home.urls.control}${path}`, { token: tokens.control, ...options })
const exec = <Body>(path: string, body?: unknown, headers: Record<string, string> = {}) =>
  call<Body>(`${home.urls.exec}${path}`, { token: tokens.exec, body, headers })

/** A change on control, which must be taken. */
async function change(method: 'POST' | 'PUT', path: string, body: Record<string, unknown>): Promise<Answer> {
  const answer = await control<Record<string, unknown>>(path, { method, body: { ...body, reason } })
  expect(answer, path).toMatchObject({ status: method === 'PUT' ? 200 : 201 })
  return answer
}

const submit = async (marker: string): Promise<string> => {
  const { status, body } = await exec<{ job_id: string }>('/jobs', taking(marker))
  expect(status).toBe(202)
  return body.job_id
}
const stateOf = async (jobId: string): Promise<string> =>
  (await control<{ job: { state: string } }>(`/jobs/${jobId}`)).body.job.state
const isDone = (jobId: string) => vi.waitFor(async () => expect(await stateOf(jobId)).toBe('done'), WITHIN)

const eventTypes = async (traceId: string): Promise<string[]> => {
  const { body } = await control<{ data: { type: string }[] }>(`/events?trace_id=${traceId}`)
  return body.data.map(({ type }) => type)
}
const billingIsUpdated = (traceId: string) =>
  vi.waitFor(async () => expect(await eventTypes(traceId)).toContain('billing_state_updated'), WITHIN)

async function stripeEvent(): Promise<string> {
  const event = await signedStripeEvent({ type: 'invoice.paid', secret: STRIPE_SECRET })
  const { status, traceId } = await sendStripeEvent(home.urls.ingress, event)
  expect(status).toBe(200)
  return traceId
}

const statusPage = async (role: 'console' | 'control'): Promise<Record<string, boolean>> => {
  const { body } = await call<{ processes: { name: string; ready: boolean }[] }>(`${home.urls[role]}/status`)
  return Object.fromEntries(body.processes.map(({ name, ready }) => [name, ready]))
}
const EVERYTHING_UP = { control: true, exec: true, ingress: true, worker: true }

describe('before the schema is there', () => {
  test('a process refuses to start and says what to do', async () => {
    const { code, stderr } = await runCli(home, 'start', 'control')
    expect(stderr).toContain('run `npx orchestrator migrate`')
    expect(stderr).not.toMatch(/^\s+at /m)
    expect(code).toBe(1)
  })

  test('doctor says the same', async () => {
    const { code, stdout } = await runCli(home, 'doctor')
    expect(stdout).toMatch(
      /^FAIL {2}schema +0 of \d+ migrations applied\n +→ Run `npx orchestrator migrate`/m,
    )
    expect(stdout.match(/^FAIL/gm)).toHaveLength(1)
    expect(code).toBe(1)
  })

  test('migrate makes it, once', async () => {
    const first = await runCli(home, 'migrate')
    expect(first).toMatchObject({ code: 0, stderr: '' })
    expect(first.stdout).toMatch(/^Applied:\n( {2}\d{4}_\w+\.sql\n)+$/)
    expect((await runCli(home, 'migrate')).stdout).toBe('The schema is up to date.\n')
  })
})

describe('five processes', () => {
  test('start each on its own and see each other', async () => {
    await Promise.all(ROLES.map(start))
    expect(await statusPage('console')).toEqual(EVERYTHING_UP)
  })

  test('a workspace is made by a platform admin and set up by its operator', async () => {
    const admin = await tokenFor(home, 'control', '--platform-admin')
    const made = { slug: SLUG, name: 'Shop', template: 'empty', reason }
    expect((await call(`${home.urls.control}/workspaces`, { token: admin, body: made })).status).toBe(201)
    const [execToken, controlToken] = await Promise.all(
      (['exec', 'control'] as const).map((plane) => tokenFor(home, plane, '--workspace', SLUG)),
    )
    Object.assign(tokens, { exec: execToken, control: controlToken })
    const secrets = join(home.dataDir, 'secrets', SLUG)
    await mkdir(secrets, { recursive: true, mode: 0o700 })
    for (const [name, value] of Object.entries({ signing: SIGNING_SECRET, stripe: STRIPE_SECRET })) {
      await writeFile(join(secrets, name), value, { mode: 0o600 })
      const answer = await control(`/secret-refs/${name}`, {
        method: 'PUT',
        body: { ref: `file://${name}`, reason },
      })
      expect(answer.status).toBe(201)
    }
    await change('PUT', '/connectors/sink', { connector: sinkConnector(sink.url) })
    await change('PUT', '/connectors/product', {
      connector: {
        kind: 'callback',
        settings: { url: `${product.url}/callbacks/ok` },
        secrets: { signing_secret: 'signing' },
      },
    })
    await change('POST', '/webhook-routes', {
      provider: 'stripe',
      livemode: false,
      connector: 'product',
      secret_refs: ['stripe'],
      emit_on_delivery: [{ event_types: ['invoice.*'], event: 'billing_state_updated' }],
    })
  })

  test('an execute, a job and a Stripe webhook pass through them', async () => {
    const answer = await vi.waitFor(async () => {
      const execution = await exec<{ trace_id: string }>('/execute', taking('now'), {
        'idempotency-key': 'now',
      })
      expect(execution).toMatchObject({ status: 200, body: { output: { taken: 'now' } } })
      return execution
    }, WITHIN)
    await isDone(await submit('later'))
    expect(sink.effects.map(({ marker }) => marker)).toEqual(['now', 'later'])
    expect(sink.effects[0]?.traceparent).toContain(answer.body.trace_id)
    await billingIsUpdated(await stripeEvent())
    expect(product.received).toMatchObject([{ type: 'stripe.invoice.paid', verified: true, answered: 200 }])
  })
})

test('the worker tells in numbers what its queue does', async () => {
  const text = await (await fetch(`${home.urls.worker}/metrics`)).text()
  const value = (series: RegExp) => Number(text.match(new RegExp(`^${series.source} (\\S+)$`, 'm'))?.[1])
  expect(value(/orchestrator_jobs_claimed_total\{queue="default",process="worker"\}/)).toBe(1)
  expect(value(/orchestrator_jobs_settled_total\{queue="default",outcome="done",process="worker"\}/)).toBe(1)
  expect(value(/orchestrator_job_start_delay_seconds_count\{process="worker",queue="default"\}/)).toBe(1)
  // Sampled as the worker starts, and every 15 s.
  for (const name of [
    'jobs_ready',
    'jobs_ready_oldest_seconds',
    'jobs_deferred',
    'jobs_dead',
    'lanes_blocked',
  ])
    expect(text).toMatch(
      new RegExp(`^# HELP orchestrator_${name} .+\\n# TYPE .+\\norchestrator_${name}\\{`, 'm'),
    )
  expect(text).toMatch(/^orchestrator_jobs_stale_settlements_total\{process="worker"\} 0$/m)
})

describe('with exec, worker and ingress killed', () => {
  const waiting: string[] = []
  let webhookTrace = ''

  test('control and console stay ready and show who is down', async () => {
    await running.get('worker')?.killHard()
    for (const marker of ['waits-1', 'waits-2', 'waits-3']) waiting.push(await submit(marker))
    webhookTrace = await stripeEvent()
    await running.get('exec')?.killHard()
    await running.get('ingress')?.killHard()

    for (const role of ['control', 'console'] as const)
      expect((await call(`${home.urls[role]}/ready`)).body).toMatchObject({ ready: true })
    const down = { control: true, exec: false, ingress: false, worker: false }
    expect(await statusPage('control')).toEqual(down)
    expect(await statusPage('console')).toEqual(down)
    const page = await fetch(home.urls.console)
    expect(page.status).toBe(200)
    expect(await page.text()).toContain('<title>')
  })

  test('an operator sees what waits and what happened, and changes a config', async () => {
    const { body } = await control<{ data: { id: string }[] }>('/jobs?state=queued&connector=sink')
    expect(body.data.map(({ id }) => id).sort()).toEqual(waiting.toSorted())
    // An event is shown when no older transaction is open any more, of whatever database of the server.
    await vi.waitFor(async () => expect(await eventTypes(webhookTrace)).toContain('webhook.received'), WITHIN)
    const changed = await change('PUT', '/connectors/sink', { connector: sinkConnector(otherSink.url) })
    const active = await control<{ version: number }>('/configs/active')
    expect(active.body.version).toBe(changed.body.config_version)
    const audit = await control<{ data: { reason: string }[] }>('/audit?limit=1')
    expect(audit.body.data[0]?.reason).toBe(reason)
  })

  test('when they are back, what waited is done, by the config of now', async () => {
    await Promise.all(EXECUTION.map(start))
    for (const jobId of waiting) await isDone(jobId)
    await billingIsUpdated(webhookTrace)
    expect(otherSink.effects.map(({ marker }) => marker).sort()).toEqual(['waits-1', 'waits-2', 'waits-3'])
    expect(product.received).toHaveLength(2)
    expect(await statusPage('console')).toEqual(EVERYTHING_UP)
  })
})

describe('doctor', () => {
  test('finds nothing to mend on a healthy hub that runs', async () => {
    const { code, stdout } = await runCli(home, 'doctor')
    expect(stdout).not.toContain('FAIL')
    expect(stdout.match(/a hub runs there/g)).toHaveLength(ROLES.length)
    expect(code).toBe(0)
  })

  test('names a stranger on a port and a key that others can read, with the mend of each', async () => {
    const [port = 0] = await freePorts(1)
    const stranger = createServer((socket) => socket.resume().end('SSH-2.0-stranger\r\n'))
    await new Promise<void>((resolve) => stranger.listen(port, '127.0.0.1', resolve))
    const keyFile = join(home.dataDir, 'keys/exec.json')
    await chmod(keyFile, 0o644)
    try {
      const { code, stdout } = await runCli(home.with({ INGRESS_PORT: String(port) }), 'doctor')
      expect(stdout).toMatch(new RegExp(`^FAIL {2}port ${port} .*ingress.*\\n.*set INGRESS_PORT`, 'm'))
      expect(stdout).toMatch(new RegExp(`^FAIL {2}exec keys .*\\n.*chmod 600 ${keyFile}`, 'm'))
      expect(stdout).toMatch(/2 of \d+ checks failed/)
      expect(code).toBe(1)
    } finally {
      await chmod(keyFile, 0o600)
      await new Promise((closed) => stranger.close(closed))
    }
  })

  test('says that the database cannot be reached, and never the password', async () => {
    const away = home.with({ DATABASE_URL: 'postgres://hub:hunter2@127.0.0.1:1/hub' })
    const { code, stdout, stderr } = await runCli(away, 'doctor')
    expect(stdout).toMatch(/^FAIL {2}database +cannot be used \(ECONNREFUSED\)\n.*DATABASE_URL/m)
    expect(`${stdout}${stderr}`).not.toContain('hunter2')
    expect(code).toBe(1)
  })

  test('lists the faults of a configuration', async () => {
    const { code, stdout } = await runCli(home.with({ EXEC_PORT: '0', LOG_LEVEL: 'loud' }), 'doctor')
    expect(stdout).toMatch(/^FAIL {2}configuration +EXEC_PORT/m)
    expect(stdout).toMatch(/^FAIL {2}configuration +LOG_LEVEL/m)
    expect(code).toBe(1)
  })
})

test('SIGTERM ends each of them with exit code 0', async () => {
  const endings = await Promise.all([...running.values()].map((command) => command.stop('SIGTERM')))
  expect(endings.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
    endings.map(() => ({ code: 0, stderr: '' })),
  )
  expect(await processesOf(home.dataDir)).toEqual([])
})
