/**
 * No secret comes out: every kind of secret gets a value that stands nowhere else, every flow runs on a real hub, and
 * then everything that the hub has written, said or answered is searched for them.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { signedStripeEvent } from '../server/src/commands/demo/stripe-event.ts'
import { canaryScan, type Hit } from '../server/testing/canary-scan.ts'
import { type TestDatabase, testDatabase } from '../server/testing/database.ts'
import { startUpstream, type Upstream } from '../server/testing/upstream.ts'
import { startVaultServer, type VaultServer } from '../server/testing/vault-server.ts'
import { type HubHome, hubHome, type RunningHub, runCli, startHub, tokenFor } from './hub-process.ts'

const SLUG = 'canary-dev'
const WITHIN = { timeout: 20_000, interval: 50 }
const reason = 'a canary sings'
const random = (kind: string) => `canary-${kind}-${randomBytes(15).toString('hex')}`
const signing = () => `whsec_${randomBytes(30).toString('base64')}`

const canaries: Record<string, string> = {
  env: random('env'),
  file: random('file'),
  store: random('store'),
  'store, rotated': random('rotated'),
  vault: random('vault'),
  oauth: random('oauth'),
  'oauth token': random('access'),
  callback: signing(),
  'callback, rotated': signing(),
  webhook: `whsec_${random('hook')}`,
  'webhook, rotated': `whsec_${random('hook2')}`,
  'put where a ref belongs': random('misplaced'),
  'value of a refused request': random('refused'),
  'client secret of nobody': random('client'),
  'password of nobody': random('wrongpw'),
  'password of an operator': random('password'),
}

let database: TestDatabase
let vault: VaultServer
let upstream: Upstream
let collector: Upstream
let home: HubHome
let hub: RunningHub
let admin: string
let control: string
let exec: string
let workspaceId: string
/** Everything that the hub answered, but what it shows once by design. */
const answers: string[] = []
const traces: string[] = []

interface Ask {
  readonly token?: string
  readonly method?: string
  readonly body?: unknown
  readonly headers?: Record<string, string>
  /** What this answer shows once, by design: the name of the canary, and where it is in the body. */
  readonly shows?: readonly [name: string, field: string]
}
async function ask(url: string, { token, method, body, headers, shows }: Ask = {}) {
  const response = await fetch(url, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: {
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(method === 'PUT' && { 'if-match': '*' }),
      ...headers,
    },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  let text = await response.text()
  const parsed = (text.startsWith('{') ? JSON.parse(text) : {}) as Record<string, unknown>
  if (shows) {
    const [name, field] = shows
    canaries[name] = String(parsed[field])
    text = text.replaceAll(String(parsed[field]), '')
  }
  answers.push(`${url} ${response.status} ${JSON.stringify([...response.headers])} ${text}`)
  return { status: response.status, body: parsed, text }
}
const onControl = (path: string, body?: object, method = 'PUT') =>
  ask(`${home.urls.control}${path}`, { token: control, ...(body && { method, body: { ...body, reason } }) })
const ok = async (asked: ReturnType<typeof ask>) => {
  const answer = await asked
  expect(answer.status, answer.text).toBeLessThan(300)
  return answer
}
const refused = async (asked: ReturnType<typeof ask>) =>
  expect((await asked).status).toBeGreaterThanOrEqual(400)
const value = (name: string): string => canaries[name] ?? ''

const http = (auth: object, secret: object) => ({
  connector: {
    kind: 'http',
    settings: {
      base_url: upstream.url,
      auth,
      operations: Object.fromEntries(
        ['ok', 'broken', 'slow', 'echo'].map((name) => [
          name,
          { method: 'POST', path: `/${name}`, body: {} },
        ]),
      ),
      health: { method: 'GET', path: '/ok' },
    },
    policy: 'quick',
    secrets: secret,
  },
})
const CONNECTORS = ['by-env', 'by-file', 'by-store', 'by-vault', 'by-oauth'] as const

beforeAll(async () => {
  database = await testDatabase()
  vault = await startVaultServer()
  canaries['vault token'] = vault.newToken()
  vault.write(`orchestrator/${SLUG}/payments`, { key: value('vault') })
  upstream = await startUpstream((response, { url, headers }) => {
    if (url === '/slow') return
    const body = {
      '/token': { access_token: value('oauth token'), token_type: 'Bearer', expires_in: 3_600 },
      // An upstream that gives back what it was sent.
      '/echo': { heard: headers.authorization },
      '/broken': { error: `refused ${headers.authorization}` },
    }[url]
    response
      .writeHead(url === '/broken' ? 500 : 200, { 'content-type': 'application/json' })
      .end(JSON.stringify(body ?? {}))
  })
  collector = await startUpstream()
  home = await hubHome({
    DATABASE_URL: database.url,
    DEMO_WORKSPACES: 'false',
    LOG_FILE: '-',
    LOG_LEVEL: 'debug',
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    VAULT_ADDR: vault.url,
    VAULT_TOKEN: value('vault token'),
    [`ORCH_SECRET__${SLUG.toUpperCase().replaceAll('-', '_')}__KEY`]: value('env'),
  })
  const folder = join(home.dataDir, 'secrets', SLUG)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const name of ['file', 'webhook', 'oauth']) await writeFile(join(folder, name), value(name))
  hub = await startHub(home)
  admin = await tokenFor(home, 'control', '--platform-admin')
  const made = await ok(
    ask(`${home.urls.control}/workspaces`, {
      token: admin,
      body: { slug: SLUG, name: 'Canary', template: 'empty', reason },
    }),
  )
  workspaceId = String(made.body.id)
  control = await tokenFor(home, 'control', '--workspace', SLUG)
  exec = await tokenFor(home, 'exec', '--workspace', SLUG)
}, 120_000)
afterAll(async () => {
  await hub?.stop()
  await home?.remove()
  await collector?.close()
  await upstream?.close()
  await vault?.close()
  await database?.drop()
})

const execute = (connector: string, operation: string, more: object = {}) =>
  ask(`${home.urls.exec}/execute`, {
    token: exec,
    body: { connector, operation, input: {}, ...more },
    headers: { 'idempotency-key': randomBytes(8).toString('hex') },
  })
const sendWebhook = async (secret: string) => {
  const event = await signedStripeEvent({ type: 'invoice.paid', secret })
  return ask(`${home.urls.ingress}/webhooks/stripe`, {
    body: event.payload,
    headers: { 'stripe-signature': event.signature },
  })
}

describe('secrets', () => {
  test('are put in every place that there is', async () => {
    await ok(onControl('/secret-refs/env', { ref: 'env://KEY' }))
    for (const name of ['file', 'webhook', 'oauth'])
      await ok(onControl(`/secret-refs/${name}`, { ref: `file://${name}` }))
    await ok(onControl('/secret-refs/vault', { ref: 'vault://kv/payments#key' }))
    for (const name of ['store', 'callback'])
      await ok(onControl(`/secret-refs/${name}/value`, { value: value(name) }))
    const { text } = await ok(onControl('/secret-refs/health'))
    expect(JSON.parse(text).data.map(({ resolves }: { resolves: boolean }) => resolves)).toEqual(
      Array(7).fill(true),
    )
  })

  test('are used by every kind of call, good and bad', async () => {
    await ok(
      onControl('/policies/quick', {
        policy: {
          timeouts: { attempt_ms: 400, total_ms: 1_000 },
          retry: { max_attempts: 2, base_ms: 10 },
          job_retry: { max_attempts: 2, base_ms: 100 },
        },
      }),
    )
    const bearer = { type: 'bearer' }
    for (const name of ['env', 'file', 'store', 'vault'])
      await ok(onControl(`/connectors/by-${name}`, http(bearer, { token: name })))
    const oauth2 = { token_url: `${upstream.url}/token`, client_id: 'the hub' }
    await ok(onControl('/connectors/by-oauth', http({ type: 'oauth2', oauth2 }, { client_secret: 'oauth' })))
    await ok(
      onControl('/connectors/product', {
        connector: {
          kind: 'callback',
          settings: { url: `${upstream.url}/hook` },
          secrets: { signing_secret: 'callback' },
        },
      }),
    )
    for (const connector of CONNECTORS) {
      await ok(execute(connector, 'ok'))
      await ok(execute(connector, 'echo'))
      await refused(execute(connector, 'broken'))
      await ok(execute(connector, 'broken', { options: { dry_run: true } }))
      await ok(onControl(`/connectors/${connector}/test`, {}, 'POST'))
    }
    await refused(execute('by-store', 'slow'))
    const seen = upstream.requests.map(({ headers }) => headers.authorization).join()
    for (const name of ['env', 'file', 'store', 'vault', 'oauth token']) expect(seen).toContain(value(name))
  })

  test('are used by jobs, retries, dead letters and callbacks', async () => {
    for (const [connector, operation] of [
      ['by-store', 'ok'],
      ['by-vault', 'echo'],
      ['by-store', 'broken'],
      ['by-oauth', 'broken'],
    ] as const)
      await ok(
        ask(`${home.urls.exec}/jobs`, {
          token: exec,
          body: { connector, operation, input: {}, callback: { connector: 'product' } },
        }),
      )
    await vi.waitFor(async () => {
      expect(JSON.parse((await onControl('/dlq/default')).text).data).toHaveLength(2)
      expect(upstream.requests.filter(({ url }) => url === '/hook').length).toBeGreaterThanOrEqual(4)
    }, WITHIN)
  })

  test('are used by webhooks, and rotated with both values in force', async () => {
    await ok(
      onControl(
        '/webhook-routes',
        { provider: 'stripe', livemode: false, connector: 'product', secret_refs: ['webhook'] },
        'POST',
      ),
    )
    await ok(sendWebhook(value('webhook')))
    await refused(sendWebhook(value('value of a refused request')))
    const overlap = { overlap_seconds: 600 }
    await ok(onControl('/secret-refs/webhook/value', { value: value('webhook, rotated'), ...overlap }))
    await ok(onControl('/secret-refs/callback/value', { value: value('callback, rotated'), ...overlap }))
    await ok(onControl('/secret-refs/store/value', { value: value('store, rotated') }))
    await vi.waitFor(async () => ok(sendWebhook(value('webhook, rotated'))), WITHIN)
    await ok(sendWebhook(value('webhook')))
    await vi.waitFor(() => {
      const hooks = upstream.requests.filter(({ url }) => url === '/hook')
      expect(String(hooks.at(-1)?.headers['webhook-signature']).split(' ')).toHaveLength(2)
    }, WITHIN)
    await vi.waitFor(async () => {
      await ok(execute('by-store', 'ok'))
      expect(upstream.requests.at(-1)?.headers.authorization).toContain(value('store, rotated'))
    }, WITHIN)
    await ok(onControl('/secret-refs/store/revert', {}, 'POST'))
  })

  test('are handed out once, to machines and to people', async () => {
    const identity = await ok(
      ask(`${home.urls.control}/identities`, {
        token: control,
        body: { name: 'svc:canary', scopes: ['orchestrator.execute'], reason },
        shows: ['client secret', 'client_secret'],
      }),
    )
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    const grant = (secret: string) =>
      `grant_type=client_credentials&client_id=${String(identity.body.id)}&client_secret=${encodeURIComponent(secret)}`
    const token = { shows: ['access token', 'access_token'] as const, headers: form }
    await ok(ask(`${home.urls.exec}/oauth/token`, { body: grant(value('client secret')), ...token }))
    await refused(
      ask(`${home.urls.exec}/oauth/token`, { body: grant(value('client secret of nobody')), headers: form }),
    )

    const login = `${home.urls.control}/auth/login`
    await refused(
      ask(login, { body: { email: 'nobody@example.com', password: value('password of nobody') } }),
    )
    const invitation = { email: 'canary@example.com', role: 'support', workspace_id: workspaceId, reason }
    await ok(
      ask(`${home.urls.control}/operators/invitations`, {
        token: admin,
        body: invitation,
        shows: ['invitation', 'token'],
      }),
    )
    const password = value('password of an operator')
    await ok(
      ask(`${home.urls.control}/auth/invitations/accept`, {
        body: { token: value('invitation'), name: 'Canary', password },
        shows: ['session', 'session_token'],
      }),
    )
    const session = { token: value('session') }
    const secret = await ask(`${home.urls.control}/auth/totp`, {
      ...session,
      body: {},
      shows: ['totp', 'secret'],
    })
    expect(secret.status, secret.text).toBeLessThan(300)
    // The second form of the same secret is shown with it.
    answers.pop()
    await ok(
      ask(login, {
        body: { email: 'canary@example.com', password },
        shows: ['another session', 'session_token'],
      }),
    )
  })

  test('are refused where they do not belong', async () => {
    const misplaced = value('put where a ref belongs')
    await refused(onControl('/secret-refs/bad', { ref: misplaced }))
    await refused(onControl('/secret-refs/bad', { ref: `env://${misplaced}` }))
    await refused(onControl('/secret-refs/bad', { ref: `file://../${misplaced}` }))
    await refused(onControl('/secret-refs/bad', { ref: 'env://A', value: misplaced }))
    const wrong = value('value of a refused request')
    await refused(
      ask(`${home.urls.control}/secret-refs/bad/value`, {
        token: control,
        method: 'PUT',
        body: { value: wrong },
      }),
    )
    await refused(
      ask(`${home.urls.control}/secret-refs/bad/value`, {
        token: exec,
        method: 'PUT',
        body: { value: wrong, reason },
      }),
    )
    await refused(onControl('/secret-refs/bad/value', { value: [wrong] }))
    await refused(onControl('/secret-refs/bad/value', { value: wrong, stray: wrong }))
    await refused(onControl('/secret-refs/health/value', { value: wrong }))
    await refused(
      ask(`${home.urls.control}/secret-refs/bad/value`, {
        token: control,
        method: 'PUT',
        body: `{"value":"${wrong}"`,
      }),
    )
    await refused(onControl('/connectors/bad', http({ type: 'bearer' }, { token: misplaced })))
    await refused(ask(`${home.urls.control}/secret-refs`, { token: misplaced }))
  })

  test('are rewrapped while they are in use', async () => {
    const { code, stdout, stderr } = await runCli(home, 'secrets', 'rotate-key')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toContain('0 still under another key')
    answers.push(stdout)
    await ok(execute('by-store', 'ok'))
    await vi.waitFor(async () => {
      const { body } = await ok(onControl('/secret-refs/store'))
      expect(body).toMatchObject({ used_by: ['connector:by-store'], last_used_at: expect.any(String) })
    }, WITHIN)
    const { keys } = JSON.parse(await readFile(join(home.dataDir, 'keys/secrets.json'), 'utf8'))
    for (const { id, key } of keys) canaries[`key-encryption key ${id}`] = key
  })

  test('occur nowhere: not in the database, log, traces, metrics, answers, documents, exports', async () => {
    for (const path of [
      '/audit?limit=200',
      '/events?limit=200',
      '/secret-refs',
      '/secret-refs/store',
      '/configs',
      '/connectors',
      '/bundle/export',
      '/dlq/default',
      '/webhook-inbox',
    ])
      await onControl(path)
    for (const url of Object.values(home.urls))
      for (const path of ['/metrics', '/openapi.json', '/ready']) await ask(`${url}${path}`)
    const exported = await runCli(home, 'bundle', 'export', '--workspace', SLUG)
    const audit = await runCli(home, 'audit', 'export', '--workspace', SLUG)
    const ended = await hub.stop()
    for (const { headers, body } of collector.requests) {
      expect(headers['content-encoding'], 'what is packed cannot be searched').toBeUndefined()
      traces.push(body)
    }
    expect(traces.length, 'no trace was recorded').toBeGreaterThan(0)
    expect(exported.stdout).toContain('by-store')
    expect(audit.stdout).toContain('secret.rotated')
    expect(ended.stdout.length).toBeGreaterThan(1_000)

    const find = canaryScan(canaries)
    const rows = await everyRow()
    expect(rows.size).toBeGreaterThan(40)
    const hits: Hit[] = [
      ...[...rows].flatMap(([table, text]) => find(`table ${table}`, text)),
      ...traces.flatMap((trace) => find('a trace', trace)),
      ...answers.flatMap((answer) => find(`the answer of ${answer.slice(0, 120)}`, answer)),
      ...find('standard output', ended.stdout),
      ...find('standard error', ended.stderr),
      ...[exported, audit].flatMap(({ stdout, stderr }) => find('an export', stdout + stderr)),
    ]
    expect(hits).toEqual([])
    // The search itself would have found one.
    await asAdmin('insert into request_canary values ($1)', [Buffer.from(value('store'))])
    const planted = [...(await everyRow())].flatMap(([table, text]) => find(table, text))
    expect(planted).toEqual([{ canary: 'store', form: 'hex', place: 'request_canary' }])
  }, 60_000)
})

async function asAdmin(text: string, values: readonly unknown[] = []): Promise<Record<string, string>[]> {
  const url = new URL(inject('postgres').adminUrl)
  url.pathname = new URL(database.url).pathname
  const client = new Client({ connectionString: url.href })
  await client.connect()
  try {
    if (text.startsWith('insert')) await client.query('create table request_canary (bytes bytea)')
    return (await client.query(text, [...values])).rows
  } finally {
    await client.end()
  }
}

/** Every row of every table as text, bytes in hex; also of those that nobody has thought of. */
async function everyRow(): Promise<Map<string, string>> {
  const tables = await asAdmin(
    `select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')`,
  )
  const rows = new Map<string, string>()
  for (const { name = '' } of tables) {
    const found = await asAdmin(`select coalesce(string_agg(t::text, E'\\n'), '') as text from ${name} t`)
    rows.set(name, found[0]?.text ?? '')
  }
  return rows
}
