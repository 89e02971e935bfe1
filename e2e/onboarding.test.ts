/** Two products onboard on a live hub with what an operator has: the CLI, the API, the checklist. No code knows them. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Answer, call } from './hub-client.ts'
import {
  type Ending,
  type HubHome,
  hubHome,
  type RunningHub,
  runCli,
  startHub,
  tokenFor,
} from './hub-process.ts'

const reason = 'onboarding'
const SECRET = 'a-value-that-stands-nowhere-else-7f3a91'

let home: HubHome
let hub: RunningHub
let platformToken = ''

beforeAll(async () => {
  home = await hubHome({ DEMO_WORKSPACES: 'false' })
  hub = await startHub(home)
  platformToken = await tokenFor(home, 'control', '--platform-admin')
})
afterAll(async () => {
  await hub?.stop()
  await home?.remove()
})

interface Product {
  readonly slug: string
  readonly id: string
  readonly token: string
}

const control = <Body = Record<string, unknown>>(
  product: Product,
  path: string,
  options: Parameters<typeof call>[1] = {},
) => call<Body>(`${hub.urls.control}${path}`, { token: product.token, ...options })

async function change(product: Product, method: 'POST' | 'PUT', path: string, body: object): Promise<Answer> {
  const answer = await control(product, path, { method, body: { ...body, reason } })
  expect([200, 201], `${method} ${path}: ${JSON.stringify(answer.body)}`).toContain(answer.status)
  return answer
}

/** A workspace with a default policy, one upstream and one callback: what a product brings. */
async function onboarded(slug: string, name: string, upstream: string): Promise<Product> {
  const made = await call<{ id: string }>(`${hub.urls.control}/workspaces`, {
    token: platformToken,
    body: { slug, name, reason },
  })
  expect(made.status, JSON.stringify(made.body)).toBe(201)
  const token = await tokenFor(home, 'control', '--workspace', slug, '--ttl', '3600')
  const product = { slug, id: made.body.id, token }
  await change(product, 'PUT', '/secret-refs/api-token/value', { value: `${SECRET}-${slug}` })
  await change(product, 'PUT', '/policies/default', {
    policy: { timeouts: { attempt_ms: 5_000, total_ms: 10_000 } },
  })
  await change(product, 'PUT', '/connectors/upstream', {
    connector: {
      kind: 'http',
      settings: {
        base_url: upstream,
        auth: { type: 'bearer' },
        operations: { ping: { title: 'Ping', method: 'GET', path: '/ping' } },
      },
      secrets: { token: 'api-token' },
    },
  })
  return product
}

interface Report {
  readonly code: number | null
  /** Status by name of the line, as printed. */
  readonly lines: Readonly<Record<string, string>>
  readonly stdout: string
}

function reportOf({ code, stdout, stderr }: Ending): Report {
  expect(stderr).toBe('')
  const found = [...stdout.matchAll(/^(ok|FAIL|n\/a) +(\S+) /gm)]
  return {
    code,
    stdout,
    lines: Object.fromEntries(found.map(([, status = '', name = '']) => [name, status])),
  }
}

const verify = async (product: Product): Promise<Report> =>
  reportOf(await runCli(home, 'onboard', 'verify', product.slug))

const NAMES = [
  'control',
  'process-exec',
  'process-ingress',
  'process-worker',
  'default-policy',
  'connectors',
  'secrets-resolve',
  'retention',
  'tokens',
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
]

let buildos: Product
let beauty: Product

describe('two products, one hub', () => {
  test('buildos-dev passes every line', async () => {
    buildos = await onboarded('buildos-dev', 'BuildOS', 'http://127.0.0.1:1')
    const report = await verify(buildos)
    expect(report.lines).toEqual(Object.fromEntries(NAMES.map((name) => [name, 'ok'])))
    expect(report.code).toBe(0)
  }, 120_000)
})
