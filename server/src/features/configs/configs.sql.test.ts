import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { listAudit, verifyChain } from '../audit/audit.ts'
import {
  activateConfig,
  activeVersion,
  type ConfigDeps,
  type ConfigDocument,
  configVersion,
  diffVersions,
  editConfig,
  listConfigVersions,
  storeConfig,
  withMember,
} from './configs.ts'

let database: TestDatabase
let access: TenantAccess
let deps: ConfigDeps
/** What the workspace has outside of its config. */
let secretNames: Set<string>
let deliveries: { connector: string; by: string }[]
let tenantId: string
let workspaces = 0

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  deps = {
    db: database.db,
    secretNames: async () => secretNames,
    deliveries: async () => deliveries,
    refusal: (url) => (String(url).includes('//169.254.') ? 'it is a metadata address' : undefined),
  }
})

beforeEach(async () => {
  secretNames = new Set(['key', 'signing'])
  deliveries = []
  workspaces += 1
  tenantId = (await access.workspace(`shop${workspaces}-dev`)).id
})

afterAll(async () => {
  await access.close()
  await database.drop()
})

const api = (path = '/') => ({
  kind: 'http',
  settings: {
    base_url: 'https://api.example.com',
    auth: { type: 'bearer' },
    operations: { call: { method: 'GET', path } },
  },
  secrets: { token: 'key' },
})
const product = {
  kind: 'callback',
  settings: { url: 'https://shop.example.com' },
  secrets: { signing_secret: 'signing' },
}
const FIRST: ConfigDocument = {
  policies: { quick: { retry: { max_attempts: 2 } } },
  connectors: { api: api() },
}

const target = (ifMatch?: number) => ({ tenantId, ...(ifMatch !== undefined && { ifMatch }) })
const replace = (document: ConfigDocument, ifMatch?: number) =>
  editConfig(deps, target(ifMatch), 'config', () => document, CHANGE)

const rows = async <Row extends object>(text: string): Promise<Row[]> =>
  (await database.db.execute<Row>({ name: '', text }, [tenantId])).rows

const lanes = async () =>
  Object.fromEntries(
    (
      await rows<{ connector: string; lane: number }>(
        'select connector, lane from connector_lane where tenant_id = $1 order by lane',
      )
    ).map(({ connector, lane }) => [connector, lane]),
  )

/** Everything that a change of a config may leave behind. */
async function stored() {
  const [counts] = await rows<Record<string, number>>(
    `select (select count(*) from config_version where tenant_id = $1) as versions,
            (select max(version) from config_pointer where tenant_id = $1) as active,
            (select count(*) from connector_lane where tenant_id = $1) as lanes,
            (select count(*) from event where tenant_id = $1) as events,
            (select count(*) from audit_entry where tenant_id = $1) as entries`,
  )
  return counts
}

const problemOf = async (work: Promise<unknown>): Promise<Problem> => {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof Problem) return error
  throw new Error('no problem was thrown', { cause: error })
}

describe('an edit', () => {
  test('makes a version, moves the pointer, gives lanes, and leaves an entry and an event', async () => {
    const made = await replace(FIRST)
    expect(made).toMatchObject({
      version: 1,
      active: true,
      author: 'svc:test',
      reason: 'a test',
      document: FIRST,
    })
    expect(await activeVersion(database.db, tenantId)).toEqual(made)
    expect(await lanes()).toEqual({ api: 1 })

    const second = await editConfig(
      deps,
      target(1),
      'policy:slow',
      withMember('policies', 'slow', { timeouts: { total_ms: 30_000 } }),
      CHANGE,
    )
    expect(second.version).toBe(2)
    expect(second.document.policies).toEqual({ ...FIRST.policies, slow: { timeouts: { total_ms: 30_000 } } })
    expect(await configVersion(database.db, tenantId, 1)).toEqual({ ...made, active: false })

    const [entry] = await listAudit(database.db, { tenantId, limit: 1 })
    expect(entry).toMatchObject({
      actor: 'svc:test',
      action: 'config.changed',
      object: 'policy:slow',
      reason: 'a test',
      diff: [
        { path: '/active_version', before: 1, after: 2 },
        { path: '/policies/slow', after: { timeouts: { total_ms: 30_000 } } },
      ],
      requestId: 'request-1',
    })
    const events = await rows(
      `select type, request_id, correlation_id, trace_id, data from event where tenant_id = $1
       and type like 'config.%' order by seq desc limit 1`,
    )
    expect(events).toEqual([
      {
        type: 'config.activated',
        request_id: 'request-1',
        correlation_id: 'correlation-1',
        trace_id: 'a'.repeat(32),
        data: { version: 2, previous_version: 1, author: 'svc:test' },
      },
    ])
  })

  test('that changes nothing makes no version, also when only the order of members differs', async () => {
    const made = await replace({ ...FIRST, connectors: { api: api(), product } })
    const before = await stored()
    expect(await replace({ connectors: { product, api: api() }, policies: FIRST.policies })).toEqual(made)
    expect(await stored()).toEqual(before)
  })

  test('of a workspace that does not exist is not found', async () => {
    const none = editConfig(deps, { tenantId: newId() }, 'config', () => FIRST, CHANGE)
    expect((await problemOf(none)).code).toBe('not_found')
  })

  test('is undone as a whole when the audit entry cannot be written', async () => {
    await replace(FIRST)
    const second = await storeConfig(deps, target(), { policies: {}, connectors: { product } }, CHANGE)
    const before = await stored()
    await database.owner.execute(
      {
        name: '',
        text: `alter table audit_entry add constraint refuse_one check (reason <> 'cannot be logged') not valid`,
      },
      [],
    )
    const change = { ...CHANGE, reason: 'cannot be logged' }
    const edit = withMember('connectors', 'new', api('/new'))
    await expect(editConfig(deps, target(), 'config', edit, change)).rejects.toThrow('refuse_one')
    const empty = { policies: {}, connectors: {} }
    await expect(storeConfig(deps, target(), empty, change)).rejects.toThrow('refuse_one')
    await expect(activateConfig(deps, target(), second.version, change)).rejects.toThrow('refuse_one')
    expect(await stored()).toEqual(before)
  })
})

describe('several editors at once', () => {
  test('lose nothing', async () => {
    await replace(FIRST)
    const names = Array.from({ length: 12 }, (_, at) => `policy-${at}`)
    await Promise.all(
      names.map((name) =>
        editConfig(deps, target(), `policy:${name}`, withMember('policies', name, {}), CHANGE),
      ),
    )
    const active = await activeVersion(database.db, tenantId)
    expect(Object.keys(active?.document.policies ?? {}).sort()).toEqual([...names, 'quick'].sort())
    expect(active?.version).toBe(13)
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true })
    // Each version differs from the one before it by its own editor's policy only.
    for (let version = 2; version <= 13; version += 1)
      expect(await diffVersions(database.db, tenantId, version - 1, version)).toHaveLength(1)
  })

  test('from the same version: one wins, the others are told which version is active', async () => {
    await replace(FIRST)
    const before = await stored()
    const results = await Promise.allSettled(
      ['a', 'b', 'c'].map((name) =>
        editConfig(deps, target(1), `policy:${name}`, withMember('policies', name, {}), CHANGE),
      ),
    )
    const refused = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as Problem] : [],
    )
    const winner = Object.keys((await activeVersion(database.db, tenantId))?.document.policies ?? {}).filter(
      (name) => name !== 'quick',
    )
    const told = {
      active_version: 2,
      seen_version: 1,
      differences: winner.map((name) => ({ path: `/policies/${name}`, after: {} })),
      more_differences: 0,
    }
    expect(refused.map(({ code, extra }) => [code, extra.members])).toEqual([
      ['version_mismatch', told],
      ['version_mismatch', told],
    ])
    expect(await stored()).toMatchObject({ versions: 2, active: 2, lanes: before?.lanes })
  })
})

describe('If-Match', () => {
  test('of an old version stores nothing, whatever is asked for', async () => {
    await replace(FIRST)
    await replace({ ...FIRST, policies: {} })
    const before = await stored()
    for (const stale of [
      () => replace(FIRST, 1),
      () => storeConfig(deps, target(1), FIRST, CHANGE),
      () => activateConfig(deps, target(1), 1, CHANGE),
      // An edit that would change nothing is still made from the wrong version.
      () => replace({ ...FIRST, policies: {} }, 3),
    ])
      expect((await problemOf(stale())).code).toBe('version_mismatch')
    expect(await stored()).toEqual(before)
  })

  test('0 stands for a workspace without a config', async () => {
    expect((await problemOf(replace(FIRST, 1))).extra.members).toEqual({ active_version: 0 })
    expect((await replace(FIRST, 0)).version).toBe(1)
    expect((await problemOf(replace(FIRST, 0))).code).toBe('version_mismatch')
  })
})

describe('versions', () => {
  test.each([
    `update config_version set reason = 'x' where tenant_id = $1`,
    'delete from config_version where tenant_id = $1',
  ])('cannot be changed: %s', async (text) => {
    await replace(FIRST)
    await expect(rows(text)).rejects.toThrow('permission denied')
    await expect(database.owner.execute({ name: '', text }, [tenantId])).rejects.toThrow('immutable')
  })

  test('that are stored only are not active until they are activated', async () => {
    await replace(FIRST)
    const second = await storeConfig(
      deps,
      target(1),
      { policies: {}, connectors: { api: api(), product } },
      CHANGE,
    )
    expect(second).toMatchObject({ version: 2, active: false })
    expect(await activeVersion(database.db, tenantId)).toMatchObject({ version: 1 })
    expect(await lanes()).toEqual({ api: 1 })
    // The next edit starts from what is active, and takes the next number.
    expect(await replace({ ...FIRST, policies: {} })).toMatchObject({ version: 3 })

    expect(await activateConfig(deps, target(3), 2, CHANGE)).toMatchObject({ version: 2, active: true })
    expect(await lanes()).toEqual({ api: 1, product: 2 })
    const [entry] = await listAudit(database.db, { tenantId, limit: 1 })
    expect(entry).toMatchObject({ action: 'config.activated', object: 'config:2' })
    expect(entry?.diff.map(({ path }) => path)).toEqual(['/active_version', '/connectors/product'])
  })

  test('are rolled back by activating an older one; activating the active one changes nothing', async () => {
    await replace(FIRST)
    await replace({ policies: {}, connectors: {} })
    expect(await activateConfig(deps, target(), 1, CHANGE)).toMatchObject({ version: 1, document: FIRST })
    const before = await stored()
    expect(before).toMatchObject({ versions: 2, active: 1 })
    await activateConfig(deps, target(), 1, CHANGE)
    expect(await stored()).toEqual(before)
  })

  test('of another workspace and versions that do not exist are refused in the same words', async () => {
    await replace(FIRST)
    const mine = tenantId
    tenantId = (await access.workspace(`other${workspaces}-dev`)).id
    const foreign = await problemOf(activateConfig(deps, target(), 1, CHANGE))
    const missing = await problemOf(activateConfig(deps, { tenantId: mine }, 99, CHANGE))
    expect([foreign.code, foreign.message]).toEqual(['not_found', missing.message])
    expect(await stored()).toMatchObject({ versions: 0, active: null })
  })

  test('are listed from the newest, page by page', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e'])
      await editConfig(deps, target(), 'config', withMember('policies', name, {}), CHANGE)
    const pages: number[][] = []
    let cursor: string | undefined
    do {
      const page = await listConfigVersions(database.db, tenantId, { cursor, limit: 2 })
      pages.push(page.data.map(({ version }) => version))
      cursor = page.next_cursor ?? undefined
    } while (cursor !== undefined)
    expect(pages).toEqual([[5, 4], [3, 2], [1]])
    const [newest, older] = (await listConfigVersions(database.db, tenantId, { limit: 2 })).data
    expect([newest?.active, older?.active]).toEqual([true, false])
  })
})

describe('lanes', () => {
  test('are never given to another name, and a name keeps its own for ever', async () => {
    await replace({ policies: {}, connectors: { a: api(), b: api() } })
    await replace({ policies: {}, connectors: { b: api() } })
    await replace({ policies: {}, connectors: { b: api(), c: api() } })
    await replace({ policies: {}, connectors: { a: api(), c: api() } })
    expect(await lanes()).toEqual({ a: 1, b: 2, c: 3 })
  })
})

describe('a config that does not fit', () => {
  test('is refused with every fault and its place, and nothing is stored', async () => {
    const before = await stored()
    const document = {
      policies: {
        default: { timeouts: { total_ms: 5_000 } },
        effective: {},
        hasty: { timeouts: { attempt_ms: 9_000 }, retry: { base_ms: 500, cap_ms: 100 } },
      },
      connectors: {
        gone: { ...api(), policy: 'nothing', secrets: { token: 'no-ref' } },
        ftp: { ...api(), kind: 'ftp' },
        kinds: api(),
        metadata: { ...product, settings: { url: 'http://169.254.169.254/' } },
        odd: { ...product, secrets: { 'a/b': 'no-ref' } },
      },
    }
    for (const write of [() => replace(document), () => storeConfig(deps, target(), document, CHANGE)]) {
      const { code, extra } = await problemOf(write())
      expect(code).toBe('config_invalid')
      expect(extra.details?.map(({ path }) => path).sort()).toEqual(
        [
          '/connectors/ftp/kind',
          '/connectors/gone/policy',
          '/connectors/gone/secrets/token',
          '/connectors/kinds',
          '/connectors/metadata/settings/url',
          // Not a secret of its kind, and no secret ref.
          '/connectors/odd/secrets/a~1b',
          '/connectors/odd/secrets/a~1b',
          '/connectors/odd/secrets/signing_secret',
          '/policies/effective',
          '/policies/hasty/retry/base_ms',
          '/policies/hasty/timeouts/attempt_ms',
        ].sort(),
      )
    }
    expect(await stored()).toEqual(before)
  })

  test('is found when a change elsewhere in the document makes a member contradict what it inherits', async () => {
    await replace({ policies: { long: { timeouts: { attempt_ms: 14_000 } } }, connectors: {} })
    const edit = withMember('policies', 'default', { timeouts: { attempt_ms: 4_000, total_ms: 5_000 } })
    const { extra } = await problemOf(editConfig(deps, target(), 'policy:default', edit, CHANGE))
    expect(extra.details?.map(({ path }) => path)).toEqual(['/policies/long/timeouts/attempt_ms'])
  })

  test('cannot become active again once its secret refs have gone', async () => {
    await replace({ policies: {}, connectors: { api: api(), product } })
    await replace({ policies: {}, connectors: {} })
    secretNames.clear()
    const before = await stored()
    const { code, extra } = await problemOf(activateConfig(deps, target(), 1, CHANGE))
    expect(code).toBe('config_invalid')
    expect(extra.details).toEqual([
      { path: '/connectors/api/secrets/token', message: 'there is no secret ref of this name' },
      { path: '/connectors/product/secrets/signing_secret', message: 'there is no secret ref of this name' },
    ])
    expect(await stored()).toEqual(before)
  })

  test('takes a connector away that webhooks are delivered to, or its kind', async () => {
    await replace({ policies: {}, connectors: { api: api(), product } })
    deliveries = [{ connector: 'product', by: 'webhook_route:1' }]
    for (const connectors of [{ api: api() }, { product: api() }]) {
      const { extra } = await problemOf(replace({ policies: {}, connectors }))
      expect(extra.details).toEqual([
        {
          path: '/connectors/product',
          message: 'must stay a connector of kind callback: webhook_route:1 delivers to it',
        },
      ])
    }
    expect(await replace({ policies: {}, connectors: { product } })).toMatchObject({ version: 2 })
  })
})
