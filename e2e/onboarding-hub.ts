/** What tests of the onboarding checklist have in common: products as an operator sets them up, and the report. */
import { expect } from 'vitest'
import { type Answer, type Call, call } from './hub-client.ts'
import { type Ending, type HubHome, runCli, tokenFor } from './hub-process.ts'

/** Every line of the checklist, in its order. */
export const LINES = [
  'control',
  'earlier-runs',
  'process-exec',
  'process-ingress',
  'process-worker',
  'default-policy',
  'connectors',
  'secrets-resolve',
  'retention',
  'tokens',
  'connectors-callable',
  'fault-target',
  'temporary-objects',
  'execute',
  'timeout-retry-breaker',
  'webhook-to-callback',
  'webhook-duplicate',
  'routing',
  'polling-fallback',
  'dead-letters',
  'neighbour',
  'isolation-events',
  'isolation-secrets',
  'isolation-limits',
  'secrets-not-in-database',
  'secrets-not-in-log',
  'nothing-left',
] as const

export interface Product {
  readonly slug: string
  readonly id: string
  control<Body = Record<string, unknown>>(path: string, call?: Call): Promise<Answer<Body>>
  /** A change that must be taken. */
  change(method: 'POST' | 'PUT', path: string, body?: object): Promise<Answer>
}

const reason = 'onboarding'
export const VERIFY_TOKEN = 'whsec_dGhpcyB2YWx1ZSBzdGFuZHMgbm93aGVyZSBlbHNl'
/** Found by nobody but those who look for it. */
export const API_TOKEN = 'a-value-that-stands-nowhere-else-7f3a91'

/** The product as an operator of its workspace sees it. */
export async function productOf(home: HubHome, slug: string): Promise<Product> {
  const token = await tokenFor(home, 'control', '--workspace', slug, '--ttl', '3600')
  const base = home.urls.control
  const control = <Body>(path: string, options: Call = {}) =>
    call<Body>(`${base}${path}`, { token, ...options })
  const { body } = await control<{ data: { id: string; slug: string }[] }>('/workspaces?limit=200')
  return {
    slug,
    id: body.data.find((workspace) => workspace.slug === slug)?.id ?? '',
    control,
    change: async (method, path, more = {}) => {
      const answer = await control<Record<string, unknown>>(path, {
        method,
        body: { ...more, reason },
        headers: { 'if-match': '*' },
      })
      expect([200, 201], `${method} ${path}: ${JSON.stringify(answer.body)}`).toContain(answer.status)
      return answer
    },
  }
}

/** A default policy, an upstream with a secret, a callback: what a product brings. */
export async function setUp(product: Product, upstreamUrl: string): Promise<void> {
  await product.change('PUT', '/secret-refs/api-token/value', { value: API_TOKEN })
  // Named as somebody may well name them: no verification may take them for its own.
  await product.change('PUT', '/secret-refs/verify-token/value', { value: VERIFY_TOKEN })
  await product.change('PUT', '/policies/default', {
    policy: { timeouts: { attempt_ms: 5_000, total_ms: 10_000 } },
  })
  await product.change('PUT', '/connectors/upstream', {
    connector: {
      kind: 'http',
      settings: {
        base_url: upstreamUrl,
        auth: { type: 'bearer' },
        operations: { ping: { title: 'Ping', method: 'GET', path: '/ping' } },
      },
      secrets: { token: 'api-token' },
    },
  })
  await product.change('PUT', '/connectors/verify-email', {
    connector: {
      kind: 'callback',
      settings: { url: `${upstreamUrl}/verify-email` },
      secrets: { signing_secret: 'verify-token' },
    },
  })
}

export interface Report {
  readonly code: number | null
  readonly stdout: string
  /** `ok`, `FAIL` or `n/a` by the name of the line. */
  readonly lines: Readonly<Record<string, string>>
  /** Names of the failed lines, and the whole text of what is wrong and how to mend it. */
  readonly failed: readonly string[]
}

export function reportOf({ code, stdout }: Ending): Report {
  const found = [...stdout.matchAll(/^(ok|FAIL|n\/a) +(\S+) /gm)].map(
    ([, status = '', name = '']) => [name, status] as const,
  )
  return {
    code,
    stdout,
    lines: Object.fromEntries(found),
    failed: found.flatMap(([name, status]) => (status === 'FAIL' ? [name] : [])),
  }
}

export const verify = async (home: HubHome, slug: string, ...args: string[]): Promise<Report> =>
  reportOf(await runCli(home, 'onboard', 'verify', slug, ...args))

/** Every line passed. */
export function expectAllPassed({ code, stdout, lines }: Report): void {
  expect(lines, stdout).toEqual(Object.fromEntries(LINES.map((name) => [name, 'ok'])))
  expect(code).toBe(0)
}

/** Exactly this line failed, with what to do about it; the others passed or were not tried for this reason. */
export function expectFailed(report: Report, name: string, text: RegExp): void {
  expect(report.failed, report.stdout).toEqual([name])
  expect(report.stdout).toMatch(new RegExp(`^FAIL +${name} .*(${text.source}).*\\n +→ \\S`, 'm'))
  expect(report.code).toBe(1)
}

/** What the workspace has, without what was there before the first run. */
export async function whatIsLeft(product: Product): Promise<unknown> {
  const { body: active } = await product.control<{ document: unknown }>('/configs/active')
  const names = async (path: string, field: string) => {
    const { body } = await product.control<{ data: Record<string, unknown>[] }>(`${path}?limit=200`)
    return body.data.map((item) => item[field])
  }
  const { body: identities } = await product.control<{ data: { name: string; status: string }[] }>(
    '/identities?limit=200',
  )
  return {
    document: active.document,
    secrets: await names('/secret-refs', 'name'),
    routes: await names('/webhook-routes', 'id'),
    identities: identities.data.filter(({ status }) => status === 'active').map(({ name }) => name),
  }
}
