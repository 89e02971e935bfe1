import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test, vi } from 'vitest'
import { type TestDatabase, testDatabase, testPlatform } from '../../../testing/database.ts'
import { type TcpRelay, tcpRelay } from '../../../testing/tcp-relay.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { notify } from '../../platform/db/notifications.ts'
import type { Platform } from '../../platform/platform.ts'
import { type ActiveConfigs, type ConfigDocument, createActiveConfigs, editConfig } from './configs.ts'

const NEVER_MS = 3_600_000
const WAIT = { timeout: 20_000, interval: 5 }

let database: TestDatabase
let access: TenantAccess
let tenantId: string
let workspaces = 0
const cleanUps: (() => unknown)[] = []

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
})
beforeEach(async () => {
  workspaces += 1
  tenantId = (await access.workspace(`shop${workspaces}-dev`)).id
})
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})
afterAll(async () => {
  await access.close()
  await database.drop()
})

const api = (path = '/', more: object = {}) => ({
  kind: 'http',
  settings: { base_url: 'https://api.example.com', operations: { call: { method: 'GET', path } } },
  ...more,
})
const withConnectors = (...names: string[]): ConfigDocument => ({
  policies: {},
  connectors: Object.fromEntries(names.map((name) => [name, api()])),
})
/** Another process changes the config. */
const change = (document: ConfigDocument) =>
  editConfig(
    { db: database.db, secretNames: async () => new Set(), deliveries: async () => [] },
    { tenantId },
    'config',
    () => document,
    CHANGE,
  )

/** A process of its own, listening: by default it hears of changes at once and never polls. */
async function hubProcess(
  of: { readonly db?: string; readonly hears?: string; readonly pollMs?: number } = {},
): Promise<{ readonly configs: ActiveConfigs; readonly platform: Platform }> {
  const platform = testPlatform(of.db ?? database.url)
  const hearing = testPlatform(of.hears ?? database.url)
  const configs = createActiveConfigs({
    db: platform.db,
    notifications: hearing.notifications,
    log: platform.log,
    pollMs: of.pollMs ?? NEVER_MS,
  })
  cleanUps.push(
    () => Promise.all([platform.db.close(), hearing.db.close()]),
    () => Promise.all([platform.notifications.close(), hearing.notifications.close()]),
    () => configs.close(),
  )
  await listens(hearing)
  return { configs, platform }
}

/** Channels are listened to in the order in which they were asked for: who hears the last one hears them all. */
async function listens({ db, notifications }: Platform): Promise<void> {
  let heard = false
  const stop = notifications.listen('test_last', () => {
    heard = true
  })
  await vi.waitFor(async () => {
    await notify(db, { channel: 'test_last', payload: '' })
    expect(heard).toBe(true)
  }, WAIT)
  stop()
}

/** Connected to a database in which nobody says anything. */
const deaf = () => ({ hears: inject('postgres').url })

async function relay(): Promise<TcpRelay> {
  const made = await tcpRelay(database.url)
  cleanUps.push(() => made.close())
  return made
}

/** How often each statement has run in the process. */
async function statements({ metrics }: Platform): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { metricName, labels, value } of (await metrics.dbStatement.get()).values)
    if (metricName?.endsWith('_count'))
      counts[String(labels.statement)] = (counts[String(labels.statement)] ?? 0) + value
  return counts
}

const versionIn = async (configs: ActiveConfigs) => (await configs.get(tenantId)).version
const becomes = (configs: ActiveConfigs, version: number) =>
  vi.waitFor(async () => expect(await versionIn(configs)).toBe(version), WAIT)

describe('a config in memory', () => {
  test('is loaded once, however many ask for it, and then read without the database', async () => {
    await change(withConnectors('api'))
    const { configs, platform } = await hubProcess()
    await Promise.all(Array.from({ length: 50 }, () => configs.connector(tenantId, 'api')))
    const loaded = await statements(platform)
    expect(loaded).toEqual({ 'configs.find_active': 1, 'configs.list_lanes': 1 })
    for (let call = 0; call < 100; call += 1) await configs.connector(tenantId, 'api')
    await configs.get(tenantId, ['api'])
    expect(await statements(platform)).toEqual(loaded)
  })

  test('of a workspace without a config is empty, and known as such', async () => {
    const { configs, platform } = await hubProcess()
    expect(await configs.get(tenantId)).toMatchObject({
      version: 0,
      document: { policies: {}, connectors: {} },
    })
    await configs.get(tenantId)
    expect(await statements(platform)).toMatchObject({ 'configs.find_active': 1 })
    await change(withConnectors('api'))
    await becomes(configs, 1)
  })

  test('gives the policy in force, tightened by the request', async () => {
    await change({
      policies: {
        default: { timeouts: { total_ms: 9_000, attempt_ms: 4_000 } },
        quick: { timeouts: { attempt_ms: 1_000 } },
      },
      connectors: { plain: api(), quick: api('/', { policy: 'quick' }) },
    })
    const { configs } = await hubProcess()
    const timeouts = async (name: string, total_ms?: number) => {
      const active = await configs.connector(tenantId, name)
      return active.policy('get', total_ms === undefined ? undefined : { timeout_ms: total_ms }).policy
        .timeouts
    }
    expect(await timeouts('plain')).toEqual({ connect_ms: 3_000, attempt_ms: 4_000, total_ms: 9_000 })
    expect(await timeouts('quick', 500)).toEqual({ connect_ms: 3_000, attempt_ms: 1_000, total_ms: 500 })
    await expect(timeouts('quick', 9_001)).rejects.toMatchObject({ code: 'policy_violation' })
  })

  test('has the lanes of its connectors and the version that it came from', async () => {
    await change(withConnectors('a', 'b'))
    await change(withConnectors('b'))
    const { connector, configVersion } = await (await hubProcess()).configs.connector(tenantId, 'b')
    expect([connector.name, connector.lane, configVersion]).toEqual(['b', 2, 2])
  })

  test('loses only the connector that this hub cannot use', async () => {
    await change(withConnectors('api'))
    const document = { policies: {}, connectors: { api: api(), later: { ...api(), kind: 'of-a-newer-hub' } } }
    await database.db.transaction(async (tx) => {
      for (const text of [
        `insert into config_version select $1, 2, $2, '\\x00', 'a newer hub', 'x' from workspace limit 1`,
        `insert into connector_lane select $1, 2, 'later' where $2::json is not null`,
        'update config_pointer set version = 2 where tenant_id = $1 and $2::json is not null',
      ])
        await tx.execute({ name: '', text }, [tenantId, JSON.stringify(document)])
    })
    const { configs } = await hubProcess()
    expect((await configs.connector(tenantId, 'api')).configVersion).toBe(2)
    await expect(configs.connector(tenantId, 'later')).rejects.toMatchObject({ code: 'config_invalid' })
    expect([...(await configs.get(tenantId)).connectors.keys()]).toEqual(['api'])
  })
})

describe('a change by another process', () => {
  test('is known by its hint', async () => {
    await change(withConnectors('api'))
    const { configs } = await hubProcess()
    await versionIn(configs)
    await change(withConnectors('api', 'second'))
    await becomes(configs, 2)
  })

  test('is known by the poll when the hint is lost', async () => {
    await change(withConnectors('api'))
    const { configs, platform } = await hubProcess({ ...deaf(), pollMs: 20 })
    await versionIn(configs)
    await change(withConnectors('api', 'second'))
    await becomes(configs, 2)
    // The poll reads the pointers; it loads what has changed and nothing else.
    expect(await statements(platform)).toMatchObject({ 'configs.find_active': 2 })
  })

  test('is known when the connection of the hints comes back', async () => {
    await change(withConnectors('api'))
    const wire = await relay()
    const { configs } = await hubProcess({ hears: wire.url })
    await versionIn(configs)
    await change(withConnectors('api', 'second'))
    await becomes(configs, 2)
    await wire.cut()
    await change(withConnectors('api'))
    await wire.mend()
    await becomes(configs, 3)
  })

  test('during a load is not hidden by it', async () => {
    await change(withConnectors('api'))
    const { configs } = await hubProcess()
    const loading = await database.db.transaction(async (tx) => {
      const sql = (text: string) => tx.execute({ name: '', text }, [])
      // The load has read the pointer and waits for the lanes while another version becomes active.
      await sql('lock table connector_lane in access exclusive mode')
      const asked = configs.get(tenantId)
      await vi.waitFor(async () => {
        const waits = await sql(
          `select 1 from pg_locks where relation = 'connector_lane'::regclass and not granted`,
        )
        expect(waits.rowCount).toBe(1)
      }, WAIT)
      await sql(`insert into config_version select tenant_id, 2, document, sha256, author, reason
                 from config_version where tenant_id = '${tenantId}'`)
      await sql(`update config_pointer set version = 2 where tenant_id = '${tenantId}'`)
      await sql(`select pg_notify('orchestrator_config', '${tenantId}')`)
      return { asked }
    })
    expect((await loading.asked).version).toBe(1)
    await becomes(configs, 2)
  })
})

describe('a name that memory does not know', () => {
  test('is looked up before it is called missing: by everybody who asks, at any time', async () => {
    await change(withConnectors('api'))
    const { configs } = await hubProcess(deaf())
    await expect(configs.connector(tenantId, 'fresh')).rejects.toMatchObject({ code: 'connector_not_found' })
    await change(withConnectors('api', 'fresh'))
    const found = await Promise.all(Array.from({ length: 20 }, () => configs.connector(tenantId, 'fresh')))
    expect(new Set(found.map(({ configVersion }) => configVersion))).toEqual(new Set([2]))
  })

  test('is looked up after the question, not by a look that began before the change', async () => {
    await change(withConnectors('api'))
    const { configs } = await hubProcess(deaf())
    await versionIn(configs)
    // One question after the other is under way while the change commits.
    let changed = false
    const asking = (async () => {
      while (!changed) {
        await configs.connector(tenantId, 'nothing').catch(() => undefined)
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    await change(withConnectors('api', 'fresh'))
    await expect(configs.connector(tenantId, 'fresh')).resolves.toMatchObject({ configVersion: 2 })
    changed = true
    await asking
  })

  test('and that nobody has made costs one small read, shared by all who ask at once', async () => {
    await change(withConnectors('api'))
    const { configs, platform } = await hubProcess(deaf())
    await versionIn(configs)
    const before = await statements(platform)
    const answers = await Promise.allSettled(
      Array.from({ length: 50 }, () => configs.connector(tenantId, 'nothing', '/here')),
    )
    expect(answers.every(({ status }) => status === 'rejected')).toBe(true)
    const after = await statements(platform)
    expect(after['configs.list_pointers']).toBeLessThanOrEqual(2)
    expect(after['configs.find_active']).toBe(before['configs.find_active'])
    await expect(configs.connector(tenantId, 'nothing', '/here')).rejects.toMatchObject({
      code: 'connector_not_found',
      extra: { details: [{ path: '/here' }] },
    })
  })

  test('like those of JavaScript’s own objects is missing, too', async () => {
    await change(withConnectors('api'))
    const { configs } = await hubProcess()
    for (const name of ['constructor', 'toString', '__proto__'])
      await expect(configs.connector(tenantId, name)).rejects.toMatchObject({ code: 'connector_not_found' })
  })
})

describe('with the database away', () => {
  test('what is known stays in force; what is not known is not called missing', async () => {
    await change(withConnectors('api'))
    const wire = await relay()
    const { configs } = await hubProcess({ db: wire.url, ...deaf(), pollMs: 10 })
    await configs.connector(tenantId, 'api')
    const unseen = (await access.workspace(`unseen${workspaces}-dev`)).id
    await wire.cut()
    for (let call = 0; call < 3; call += 1) {
      expect(await configs.connector(tenantId, 'api')).toMatchObject({ configVersion: 1 })
      await expect(configs.connector(tenantId, 'fresh')).rejects.toMatchObject({
        code: 'database_unavailable',
      })
      await expect(configs.get(unseen)).rejects.toMatchObject({ code: 'database_unavailable' })
    }
    await change(withConnectors('api', 'fresh'))
    await wire.mend()
    expect(await configs.connector(tenantId, 'fresh')).toMatchObject({ configVersion: 2 })
    expect(await configs.get(unseen)).toMatchObject({ version: 0 })
  })

  test('a hint does not throw away what is known', async () => {
    await change(withConnectors('api'))
    const wire = await relay()
    const { configs, platform } = await hubProcess({ db: wire.url, pollMs: 20 })
    await versionIn(configs)
    await wire.cut()
    await change(withConnectors('api', 'second'))
    await vi.waitFor(async () => expect((await statements(platform))['configs.find_active']).toBe(2), WAIT)
    expect(await versionIn(configs)).toBe(1)
    await wire.mend()
    await becomes(configs, 2)
  })
})
