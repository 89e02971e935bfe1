import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadConfig } from '../server/src/config.ts'
import { issueOperatorToken } from '../server/src/processes/operator-token.ts'
import { UNLIMITED } from '../server/testing/unlimited.ts'
import type { Database } from './database.ts'
import type { CapRow } from './history.ts'

/** A workspace of the run with its connectors and caps; `undefined` = no cap. */
interface Plan {
  readonly slug: string
  readonly cap?: number
  readonly weight?: number
  /** HTTP connectors, with the cap of their lane. */
  readonly connectors: Readonly<Record<string, number | undefined>>
}

/** Every kind of cap once: on the workspace, on a connector, on both, on none. */
export const PLANS: readonly Plan[] = [
  { slug: 'alpha-dev', cap: 8, connectors: { ledger: 5, mailer: undefined } },
  { slug: 'beta-dev', connectors: { ledger: undefined, mailer: 4 } },
  { slug: 'gamma-dev', cap: 7, weight: 3, connectors: { ledger: undefined, mailer: undefined } },
  { slug: 'delta-dev', connectors: { ledger: undefined, mailer: undefined } },
]

/** The connector that tells products of the end of their jobs. */
export const PRODUCT = 'product'
const SECRET = 'callback-signing-secret'
const REASON = 'torture'
const TOKEN_SECONDS = 3_600
/** Long runs outlive a token. */
const RENEW_MS = 1_800_000

export interface Tenant {
  readonly id: string
  readonly slug: string
  readonly connectors: readonly string[]
  /** A cap applies to some of its jobs. */
  readonly capped: boolean
  /** A token of the exec plane. */
  token(): Promise<string>
}

export interface World {
  readonly tenants: readonly Tenant[]
  readonly caps: readonly CapRow[]
}

/** The environment that all hub processes of a run share. */
export const hubEnvironment = (home: string, databaseUrl: string): Record<string, string> => ({
  ORCHESTRATOR_ENV: 'dev',
  DATA_DIR: home,
  PAYLOAD_DIR: `${home}/payloads`,
  DATABASE_URL: databaseUrl,
  LOG_FILE: '-',
  LOG_LEVEL: 'warn',
  STOP_GRACE_MS: '3000',
  WORKER_CONCURRENCY: '20',
  SLOW_QUERY_MS: '60000',
  // Several execs and workers, and no Redis: a choice that has to be said.
  LIMITS: 'per-node',
})

/** Makes workspaces with their connectors, caps and secrets through the control API. */
export async function makeWorld(options: {
  readonly env: Readonly<Record<string, string>>
  readonly controlUrl: string
  readonly database: Database
  readonly sinkPort: number
  readonly home: string
}): Promise<World> {
  const config = loadConfig(options.env)
  const tokenOf = (plane: 'control' | 'exec', tenantId?: string) =>
    issueOperatorToken(config, {
      plane,
      tenantId,
      platformAdmin: plane === 'control',
      lifetimeSeconds: TOKEN_SECONDS,
    })

  const post = async <Answer>(
    token: string,
    path: string,
    body: unknown,
    method = 'POST',
  ): Promise<Answer> => {
    const answer = await fetch(`${options.controlUrl}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'if-match': '*' },
      body: JSON.stringify(body),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text}`)
    return JSON.parse(text) as Answer
  }

  const makeTenant = async (plan: Plan): Promise<Tenant> => {
    const { slug, connectors, weight } = plan
    const workspace = { slug, name: slug, template: 'empty', reason: REASON }
    const { id } = await post<{ id: string }>(await tokenOf('control'), '/workspaces', workspace)
    const token = await tokenOf('control', id)
    const folder = join(options.home, 'secrets', slug)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await writeFile(join(folder, SECRET), `whsec_${randomBytes(24).toString('base64')}`, { mode: 0o600 })
    await post(token, `/secret-refs/${SECRET}`, { ref: `file://${SECRET}`, reason: REASON }, 'PUT')
    const document = documentOf(`http://127.0.0.1:${options.sinkPort}/${slug}`, plan)
    const { version } = await post<{ version: number }>(token, '/configs', { document, reason: REASON })
    await post(token, '/configs/activate', { version, reason: REASON })
    // A share has no place in the config yet.
    await options.database.query(
      `insert into tenant_policy (tenant_id, weight) values ($1, $2)
       on conflict (tenant_id) do update set weight = excluded.weight`,
      [id, weight ?? 1],
    )
    const capped = capsOf(plan, id).length > 0
    return {
      id,
      slug,
      connectors: Object.keys(connectors),
      capped,
      token: renewed(() => tokenOf('exec', id)),
    }
  }

  const tenants: Tenant[] = []
  for (const plan of PLANS) tenants.push(await makeTenant(plan))
  return { tenants, caps: PLANS.flatMap((plan, at) => capsOf(plan, tenants[at]?.id ?? '')) }
}

const capsOf = ({ cap, connectors }: Plan, tenant: string): CapRow[] =>
  Object.entries<number | undefined>({ '': cap, ...connectors }).flatMap(([connector, max]) =>
    max === undefined ? [] : [{ tenant, connector: connector === '' ? null : connector, max }],
  )

/**
 * Short waits and many attempts: what was disturbed comes to its end soon after the disturbance. The run is about
 * jobs that nobody loses, not about limits that make them wait.
 */
const documentOf = (sink: string, { cap, connectors }: Plan) => ({
  policies: {
    default: {
      timeouts: { connect_ms: 1_000, attempt_ms: 6_000, total_ms: 10_000 },
      job_retry: { max_attempts: 40, base_ms: 300, factor: 1.5, cap_ms: 2_000 },
      ...UNLIMITED,
      ...(cap !== undefined && { concurrency: { workspace_max_running: cap } }),
    },
    ...Object.fromEntries(
      Object.entries(connectors).map(([name, max]) => [
        `for-${name}`,
        max === undefined ? {} : { concurrency: { max_running: max } },
      ]),
    ),
  },
  connectors: {
    ...Object.fromEntries(
      Object.keys(connectors).map((name) => [name, httpConnector(`${sink}/${name}`, `for-${name}`)]),
    ),
    [PRODUCT]: {
      kind: 'callback',
      policy: 'default',
      settings: { url: `${sink}/${PRODUCT}/callback` },
      secrets: { signing_secret: SECRET },
    },
  },
})

const httpConnector = (baseUrl: string, policy: string) => ({
  kind: 'http',
  policy,
  settings: {
    base_url: baseUrl,
    operations: {
      effect: {
        method: 'POST',
        path: '/effect',
        body: '{{input}}',
        idempotency_key_header: 'Idempotency-Key',
      },
    },
  },
})

function renewed(make: () => Promise<string>): () => Promise<string> {
  let token: Promise<string> | undefined
  let madeAt = 0
  return () => {
    if (token === undefined || Date.now() - madeAt > RENEW_MS) {
      madeAt = Date.now()
      token = make()
    }
    return token
  }
}
