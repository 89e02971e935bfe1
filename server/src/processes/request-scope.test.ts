import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../testing/calling-hub.ts'
import { CHANGE } from '../../testing/tenant-access.ts'
import { type Config, loadConfig } from '../config.ts'
import { type ConfigDocument, editConfig } from '../features/configs/configs.ts'
import type { HttpServer } from '../platform/http/server.ts'
import { BUILDERS } from './one.ts'
import { issueOperatorToken } from './operator-token.ts'
import { stopInOrder } from './runtime.ts'
import { memoryNodeStore } from './shared-store.ts'

/** Work that requests of several workspaces share is nobody's request. */
let hub: CallingHub
let folder: string
let config: Config
const cleanUps: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-scope-'))
  config = loadConfig({ DATA_DIR: folder, DATABASE_URL: hub.database.url })
  const operations = { get: { method: 'GET', path: '/' } }
  const document: ConfigDocument = {
    policies: { default: {} },
    connectors: {
      api: { kind: 'http', settings: { base_url: hub.upstream.url, operations }, policy: 'default' },
    },
  }
  for (const tenantId of [hub.tenantId, hub.otherId])
    await editConfig(hub.configDeps, { tenantId }, 'config', () => document, CHANGE)
})
afterAll(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
  await hub.close()
  await rm(folder, { recursive: true })
})

async function plane(name: 'exec' | 'control'): Promise<HttpServer> {
  const { log } = hub.database.platform
  const sharedStore = memoryNodeStore()
  const { app, stopSteps } = await BUILDERS[name]({ config, databaseUrl: hub.database.url, log, sharedStore })
  cleanUps.push(() => stopInOrder(log, 5_000, [['server', () => app.close()], ...stopSteps]))
  await app.ready()
  return app
}

const bearer = async (of: 'exec' | 'control', tenantId: string) =>
  `Bearer ${await issueOperatorToken(config, { plane: of, tenantId, lifetimeSeconds: 300 })}`

test('jobs of two workspaces go in one batch, and each workspace reads its own', async () => {
  const app = await plane('exec')
  const tokens = [await bearer('exec', hub.tenantId), await bearer('exec', hub.otherId)]
  const submit = (n: number) =>
    app.inject({
      ...{ method: 'POST', url: '/jobs', headers: { authorization: tokens[n % 2] ?? '' } },
      payload: { connector: 'api', operation: 'get', input: {} },
    })
  // One each alone: afterwards nobody waits for a config, and all go on in turns.
  const first = [await submit(0), await submit(1)]
  const submitted = [...first, ...(await Promise.all(Array.from({ length: 40 }, (_, n) => submit(n))))]
  expect(submitted.map(({ statusCode }) => statusCode)).toEqual(submitted.map(() => 202))
  const ids = submitted.map((answer) => answer.json<{ job_id: string }>().job_id)
  for (const [at, authorization] of tokens.entries()) {
    const list = await app.inject({ url: '/jobs?limit=200', headers: { authorization } })
    const own = ids.filter((_, n) => n % 2 === at)
    expect(
      list
        .json<{ data: { id: string }[] }>()
        .data.map(({ id }) => id)
        .toSorted(),
    ).toEqual(own.toSorted())
  }
  // Fewer statements than jobs: some of them carried both. One in the scope of one caller would have been refused.
  const metrics = (await app.inject({ url: '/metrics' })).body
  const batches = (ok: boolean) =>
    Number(
      new RegExp(
        `db_statement_seconds_count\\{[^}]*statement="queue\\.enqueue",ok="${ok}"[^}]*\\} (\\d+)`,
      ).exec(metrics)?.[1] ?? 0,
    )
  expect(batches(true)).toBeGreaterThan(0)
  expect(batches(true)).toBeLessThan(40)
  expect(batches(false)).toBe(0)
})

test('what one request has brought into memory serves the requests of another workspace', async () => {
  const app = await plane('control')
  const names = async (tenantId: string) => {
    const headers = { authorization: await bearer('control', tenantId) }
    const [connectors, jobs] = [
      await app.inject({ url: '/connectors', headers }),
      await app.inject({ url: '/jobs', headers }),
    ]
    return [connectors.json<{ data: { name: string }[] }>().data.map(({ name }) => name), jobs.statusCode]
  }
  const answers = await Promise.all([hub.tenantId, hub.otherId, hub.tenantId, hub.otherId].map(names))
  expect(answers).toEqual(answers.map(() => [['api'], 200]))
})
