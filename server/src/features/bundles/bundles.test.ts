import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import type { Db } from '../../platform/db/db.ts'
import { Problem } from '../../problems.ts'
import { verifyChain } from '../audit/audit.ts'
import { activeDocument, loadActiveConfig } from '../configs/configs.ts'
import { secretNames } from '../secrets/secrets.ts'
import { routeDeliveries, routesOfSecret } from '../webhook-routes/webhook-routes.ts'
import { type Quotas, setQuotas } from '../workspaces/workspaces.ts'
import { bundlesControl } from './bundles.control.ts'
import {
  type Bundle,
  type BundleDeps,
  bundleJsonSchema,
  exportBundle,
  type Imported,
  importBundle,
  type Plan,
  planImport,
  secretPlaces,
} from './bundles.ts'
import { environmentFaults } from './environment-names.ts'

let hub: CallingHub
let call: CallServer
let deps: BundleDeps
let unresolved: Map<string, string>
let from: { id: string; slug: string }
let into: { id: string; slug: string }
let workspaces = 0
const INGRESS = 'http://127.0.0.1:4003'

const depsOn = (db: Db): BundleDeps => ({
  db,
  clock: hub.database.platform.clock,
  config: { secretNames, deliveries: routeDeliveries },
  secrets: secretPlaces({
    usersOfSecret: async (tx, { tenantId, name }) => routesOfSecret(tx, tenantId, name),
    unresolved: async (_tenantId, refs) =>
      new Map([...unresolved].filter(([name]) => refs.some((ref) => ref.name === name))),
  }),
  routeChecks: {
    gapFaults: () => [],
    providerFaults: (name) =>
      name === 'stripe' ? [] : [{ path: '/provider', message: 'is not a webhook provider of this hub' }],
    connectorKind: async (on, tenantId, name) => (await activeDocument(on, tenantId)).connectors[name]?.kind,
    secretNames,
    workspaces: hub.directory,
  },
  workspaces: hub.directory,
  ingressUrls: [INGRESS],
})

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  deps = depsOn(hub.database.db)
  call = await hub.serve((app) => bundlesControl(app, deps))
})
afterAll(() => hub.close())
beforeEach(async () => {
  unresolved = new Map()
  workspaces += 1
  from = await hub.access.workspace(`from${workspaces}-dev`)
  into = await hub.access.workspace(`into${workspaces}-dev`)
})

const product = (url = 'https://shop.example.com/hooks') => ({
  kind: 'callback',
  settings: { url },
  secrets: { signing_secret: 'signing' },
})
const api = (path = '/') => ({
  kind: 'http',
  policy: 'quick',
  settings: {
    base_url: 'https://api.example.com',
    auth: { type: 'bearer' },
    operations: { call: { method: 'POST', path, body: { b: 1, a: '{{input}}' } } },
  },
  secrets: { token: 'key' },
})
const route = (account: string | null = `acct_${workspaces}`) => ({
  provider: 'stripe',
  account,
  livemode: false,
  connector: 'product',
  secret_refs: ['old-stripe', 'stripe'],
  queue: 'critical' as const,
  event_types: ['invoice.*', 'charge.*'],
  emit_on_delivery: [{ event_types: ['invoice.paid'], event: 'billing_state_updated' }],
})
/** As a hub writes it that knows more fields than the one that wrote the bundle. */
const whole = (old: Bundle['webhook_routes'][number]) => ({
  ...old,
  ...{ secret_windows: [], settings: {}, ordering: null, gap_check: null },
})
const bundleOf = (slug: string, more: Partial<Bundle> = {}): Bundle => ({
  format: 1,
  workspace: { slug, environment: 'dev' },
  config: {
    policies: { default: { timeouts: { total_ms: 12_000 } }, quick: { retry: { max_attempts: 2 } } },
    connectors: { api: api(), product: product() },
  },
  secret_refs: ['key', 'old-stripe', 'signing', 'stripe'].map((name) => ({
    name,
    ref: `env://${name.toUpperCase().replace('-', '_')}`,
  })),
  webhook_routes: [route()],
  ...more,
})

async function load(tenantId: string, bundle: Bundle, as?: string): Promise<Imported> {
  const body = { bundle, ...(as !== undefined && { as }) }
  const plan = await planImport(deps, tenantId, body)
  expect(plan.faults).toEqual([])
  return importBundle(deps, tenantId, { ...body, plan: plan.digest }, CHANGE)
}
const changesOf = ({ changes }: Pick<Plan, 'changes'>) =>
  changes.map(({ object, name, action }) => `${action} ${object} ${name}`)

/** Everything that an import may leave behind. */
const footprint = async (tenantId: string) =>
  hub.query(
    `select (select count(*) from config_version where tenant_id = $1) as versions,
            (select max(version) from config_pointer where tenant_id = $1) as active,
            (select json_agg(s.name || s.ref order by name) from secret_ref s where tenant_id = $1) as refs,
            (select json_agg(r.id order by id) from webhook_route r where tenant_id = $1) as routes,
            (select count(*) from connector_lane where tenant_id = $1) as lanes,
            (select count(*) from event where tenant_id = $1) as events,
            (select count(*) from audit_entry where tenant_id = $1) as entries`,
    [tenantId],
  )

describe('an import', () => {
  test('does what its plan says, once; again it changes nothing, also with the old plan', async () => {
    const bundle = bundleOf(into.slug)
    const plan = await planImport(deps, into.id, { bundle })
    expect(plan).toMatchObject({ valid: true, faults: [], unchanged: 0, active_version: 0 })
    expect(changesOf(plan)).toEqual([
      'create policy default',
      'create policy quick',
      'create connector api',
      'create connector product',
      'create secret_ref key',
      'create secret_ref old-stripe',
      'create secret_ref signing',
      'create secret_ref stripe',
      `create webhook_route stripe/acct_${workspaces}/test`,
    ])
    const body = { bundle, plan: plan.digest }
    expect(await importBundle(deps, into.id, body, CHANGE)).toMatchObject({
      imported: true,
      active_version: 1,
    })
    const after = await footprint(into.id)
    expect(await importBundle(deps, into.id, body, CHANGE)).toEqual({
      imported: false,
      changes: [],
      unchanged: 9,
      active_version: 1,
    })
    expect((await planImport(deps, into.id, { bundle })).changes).toEqual([])
    expect(await footprint(into.id)).toEqual(after)
    expect(await verifyChain(hub.database.db, into.id)).toMatchObject({ intact: true })
  })

  test('of an export gives an equal workspace: document, policies in force, refs and routes', async () => {
    await load(from.id, bundleOf(from.slug))
    const exported = await exportBundle(deps, from.id)
    // The accounts of a workspace that lives on stay its own.
    const moved = {
      ...exported,
      webhook_routes: exported.webhook_routes.map((each) => ({ ...each, account: null })),
    }
    await load(into.id, moved, into.slug)
    const { exported_at: _then, ...copy } = await exportBundle(deps, into.id)
    const { exported_at: _now, ...original } = moved
    expect(copy).toEqual({ ...original, workspace: { slug: into.slug, environment: 'dev' } })
    const [left, right] = [
      await loadActiveConfig(hub.database.db, from.id),
      await loadActiveConfig(hub.database.db, into.id),
    ]
    expect([...right.connectors.keys()]).toEqual([...left.connectors.keys()])
    for (const [name, connector] of left.connectors)
      for (const operation of [undefined, ...connector.connector.operations.keys()])
        expect(right.connector(name).policy(operation)).toEqual(connector.policy(operation))
  })

  test('changes and takes away what the bundle has otherwise or not', async () => {
    await load(into.id, bundleOf(into.slug))
    const [before] = await footprint(into.id)
    const bundle = bundleOf(into.slug)
    const changed: Bundle = {
      ...bundle,
      config: { policies: { quick: {} }, connectors: { ...bundle.config.connectors, api: api('/new') } },
      secret_refs: bundle.secret_refs
        .filter(({ name }) => name !== 'old-stripe')
        .map((each) => (each.name === 'key' ? { ...each, ref: 'env://OTHER' } : each)),
      webhook_routes: [{ ...route(), secret_refs: ['stripe'], queue: 'low' }],
    }
    const plan = await planImport(deps, into.id, { bundle: changed })
    expect(changesOf(plan)).toEqual([
      'remove policy default',
      'change policy quick',
      'change connector api',
      'change secret_ref key',
      'remove secret_ref old-stripe',
      `change webhook_route stripe/acct_${workspaces}/test`,
    ])
    expect(plan.changes[2]?.differences).toEqual([
      { path: '/settings/operations/call/path', before: '/', after: '/new' },
    ])
    await load(into.id, changed)
    const { exported_at: _then, ...copy } = await exportBundle(deps, into.id)
    expect(copy).toEqual({ ...changed, webhook_routes: changed.webhook_routes.map(whole) })
    const [after] = await footprint(into.id)
    expect(after).toMatchObject({ versions: 2, active: 2 })
    // Providers know its path, and the inbox what it has taken before.
    expect(after).toMatchObject({ routes: (before as { routes: unknown }).routes })
  })

  test('takes everything that a route says about its events along', async () => {
    const told = {
      ...route(),
      secret_windows: [
        { secret_ref: 'stripe', valid_from: '2026-11-01T00:00:00.000Z', valid_until: null },
        { secret_ref: 'old-stripe', valid_from: null, valid_until: '2026-12-01T00:00:00+01:00' },
      ],
      ordering: { key: '/data/object/id', limit_ms: 60_000 },
      gap_check: {
        connector: 'api',
        pull: 'manual' as const,
        every_seconds: 600,
        settings: { types: ['*'] },
      },
    }
    const bundle = bundleOf(into.slug, { webhook_routes: [told] })
    await load(into.id, bundle)
    const exported = await exportBundle(deps, into.id)
    expect(exported.webhook_routes).toEqual([
      {
        ...told,
        settings: {},
        secret_windows: [
          { secret_ref: 'old-stripe', valid_from: null, valid_until: '2026-11-30T23:00:00.000Z' },
          { secret_ref: 'stripe', valid_from: '2026-11-01T00:00:00.000Z', valid_until: null },
        ],
      },
    ])
    // The same, however it is written.
    expect(await planImport(deps, into.id, { bundle })).toMatchObject({ valid: true, changes: [] })
  })

  test('keeps a route that changes, with its id and its pause, also when its connector goes', async () => {
    await load(into.id, bundleOf(into.slug))
    await hub.query(
      `update webhook_route set paused_at = now(), paused_by = 'svc:test', paused_why = 'a move' where tenant_id = $1`,
      [into.id],
    )
    const told = () => hub.query('select id, paused_why from webhook_route where tenant_id = $1', [into.id])
    const [before] = await told()
    const bundle = bundleOf(into.slug)
    const { product: receiver, ...others } = bundle.config.connectors
    if (!receiver) throw new Error('the bundle has no callback')
    const moved: Bundle = {
      ...bundle,
      config: { ...bundle.config, connectors: { ...others, receiver } },
      webhook_routes: [{ ...route(), connector: 'receiver' }],
    }
    await load(into.id, moved)
    expect(await told()).toEqual([before])
    expect((await exportBundle(deps, into.id)).webhook_routes).toMatchObject([{ connector: 'receiver' }])
  })

  test('waits for nobody’s plan but its own: the world has changed since', async () => {
    const bundle = bundleOf(into.slug)
    const { digest } = await planImport(deps, into.id, { bundle })
    await load(into.id, bundleOf(into.slug, { webhook_routes: [] }))
    const before = await footprint(into.id)
    for (const body of [
      { bundle, plan: digest },
      {
        bundle: bundleOf(into.slug, {
          webhook_routes: [],
          secret_refs: [...bundle.secret_refs, { name: 'more', ref: 'env://MORE' }],
        }),
        plan: digest,
      },
    ])
      await expect(importBundle(deps, into.id, body, CHANGE)).rejects.toMatchObject({ code: 'plan_changed' })
    expect(await footprint(into.id)).toEqual(before)
  })

  test('of several at once: one does its plan; the same again is no change, another is refused', async () => {
    const one = bundleOf(into.slug)
    const other = bundleOf(into.slug, { webhook_routes: [] })
    const plans = await Promise.all([one, one, other].map((bundle) => planImport(deps, into.id, { bundle })))
    const results = await Promise.allSettled(
      [one, one, other].map((bundle, at) =>
        importBundle(deps, into.id, { bundle, plan: plans[at]?.digest ?? '' }, CHANGE),
      ),
    )
    const imported = results.filter((each) => each.status === 'fulfilled' && each.value.imported)
    expect(imported).toHaveLength(1)
    for (const each of results)
      if (each.status === 'rejected') expect((each.reason as Problem).code).toBe('plan_changed')
    expect((await footprint(into.id))[0]).toMatchObject({ versions: 1, active: 1 })
  })
})

describe('all or nothing', () => {
  /** The real database, of which the n-th statement of a transaction fails in some way. */
  const failingAt = (
    at: number,
    how: (run: () => Promise<never>) => Promise<never>,
  ): { db: Db; reached: () => boolean } => {
    const { db } = hub.database
    let count = 0
    return {
      reached: () => count >= at,
      db: {
        ...db,
        transaction: (work) =>
          db.transaction((tx) =>
            work({
              ...tx,
              execute: (statement, values) => {
                count += 1
                if (count !== at) return tx.execute(statement, values)
                return how(async () => {
                  await tx.execute({ name: '', text: 'select pg_terminate_backend(pg_backend_pid())' }, [])
                  throw new Error('the backend lives')
                })
              },
            }),
          ),
      },
    }
  }

  test.each([
    ['an error', 1, async () => Promise.reject(new Error('injected'))],
    ['a connection that dies', 7, (die: () => Promise<never>) => die()],
  ] as const)('%s at any step leaves nothing behind', async (_what, stride, how) => {
    await load(into.id, bundleOf(into.slug))
    const bundle = bundleOf(into.slug, {
      config: { policies: { quick: {} }, connectors: { product: product(), api: api('/x') } },
      secret_refs: [
        ...bundleOf('').secret_refs.filter(({ name }) => name !== 'old-stripe'),
        { name: 'fresh', ref: 'env://FRESH' },
      ],
      webhook_routes: [
        { ...route(), secret_refs: ['stripe'] },
        { ...route(null), secret_refs: ['fresh'] },
      ],
    })
    const { digest } = await planImport(deps, into.id, { bundle })
    const before = await footprint(into.id)
    let steps = 0
    for (let at = 1; ; at += stride) {
      const { db, reached } = failingAt(at, how)
      const result = await importBundle(depsOn(db), into.id, { bundle, plan: digest }, CHANGE).then(
        () => 'done',
        () => 'failed',
      )
      if (!reached()) {
        expect(result).toBe('done')
        break
      }
      expect([at, result]).toEqual([at, 'failed'])
      expect(await footprint(into.id)).toEqual(before)
      steps += 1
    }
    expect(steps).toBeGreaterThan(stride === 1 ? 25 : 3)
    const { exported_at: _then, ...copy } = await exportBundle(deps, into.id)
    expect(copy.config).toEqual(bundle.config)
  })
})

describe('a bundle with faults', () => {
  test('has all of them listed at once, and is refused as a whole', async () => {
    await load(from.id, bundleOf(from.slug))
    unresolved.set('key', 'the variable is not set')
    const bundle: Bundle = {
      format: 2,
      workspace: { slug: 'somebody-prod', environment: 'prod' },
      config: {
        policies: { 'quick-prod': {}, bad: { retry: { base_ms: 60_000 } } },
        connectors: {
          api: { ...api(), policy: 'nobody' },
          product: product(),
          circle: { ...product(`${INGRESS}/webhooks/stripe`) },
        },
      },
      secret_refs: [
        { name: 'key', ref: 'env://KEY' },
        { name: 'key', ref: 'file://stripe-prod' },
        { name: 'signing', ref: `file://${'sk_live_'}51Habcdefghijklmnop` },
      ],
      webhook_routes: [
        route(`acct_${workspaces}`),
        { ...route('acct_x'), connector: 'api', secret_refs: ['key'], livemode: true },
        { ...route(null), connector: 'circle', secret_refs: ['key'] },
        { ...route('acct_y'), provider: 'nobody', connector: 'gone', secret_refs: ['key'] },
      ],
    }
    const plan = await planImport(deps, into.id, { bundle })
    expect(plan.valid).toBe(false)
    expect(plan.faults.map(({ path }) => path.replace('/body/bundle/', ''))).toEqual([
      'format',
      'workspace/slug',
      'config/policies/quick-prod',
      'secret_refs/1/ref',
      'secret_refs/1/name',
      'secret_refs/2/ref',
      'config/policies/bad/retry/base_ms',
      'config/connectors/api/policy',
      'webhook_routes/0/secret_refs/0',
      'webhook_routes/0/secret_refs/1',
      'webhook_routes/1/livemode',
      'webhook_routes/1/connector',
      'webhook_routes/3/provider',
      'webhook_routes/3/connector',
      'webhook_routes/2/connector',
      'secret_refs/0/ref',
      'secret_refs/1/ref',
      'webhook_routes/0/account',
    ])
    const cycle = plan.faults.find(({ message }) => message.startsWith('leads back'))
    expect(cycle?.message).toBe(
      'leads back to itself: webhook_route stripe/own/test/key → connector circle → /webhooks/stripe → webhook_route stripe/own/test/key',
    )
    expect(JSON.stringify(plan.faults)).not.toContain('sk_live')
    const before = await footprint(into.id)
    const refused = await importBundle(deps, into.id, { bundle, plan: plan.digest }, CHANGE).catch(
      (error: unknown) => error,
    )
    expect(refused).toBeInstanceOf(Problem)
    expect(refused).toMatchObject({ code: 'bundle_invalid', extra: { details: plan.faults } })
    expect(await footprint(into.id)).toEqual(before)
  })

  test('from another environment needs to be meant, and then takes on this one’s mode', async () => {
    const bundle = {
      ...bundleOf('shop-prod', { webhook_routes: [{ ...route(null), livemode: true }] }),
      workspace: { slug: 'shop-prod', environment: 'prod' as const },
    }
    const plan = await planImport(deps, into.id, { bundle })
    expect(plan.faults.map(({ path }) => path)).toEqual([
      '/body/bundle/workspace/slug',
      '/body/bundle/webhook_routes/0/livemode',
    ])
    const wrong = await planImport(deps, into.id, { bundle, as: from.slug })
    expect(wrong.faults[0]).toEqual({
      path: '/body/as',
      message: `must be the slug of this workspace, ${into.slug}`,
    })
    await load(into.id, bundle, into.slug)
    expect((await exportBundle(deps, into.id)).webhook_routes[0]?.livemode).toBe(false)
  })

  test('of two routes that lead to each other names the way round', async () => {
    const circle = (to: string) => product(`${INGRESS}/webhooks/${to}`)
    const bundle = bundleOf(into.slug, {
      config: { policies: {}, connectors: { here: circle('stripe/0190'), product: product() } },
      webhook_routes: [
        { ...route(), connector: 'here' },
        { ...route('acct_other'), connector: 'product' },
      ],
    })
    const [fault, ...more] = (await planImport(deps, into.id, { bundle })).faults
    expect(more).toEqual([])
    expect(fault?.message).toContain('→ /webhooks/stripe → webhook_route stripe/acct_')
  })
})

describe('of the other environment', () => {
  const PROD = [
    ['secret_refs/0/ref', { secret_refs: [{ name: 'key', ref: 'vault://kv/shop-prod/stripe#key' }] }],
    ['secret_refs/0/ref', { secret_refs: [{ name: 'key', ref: 'env://PROD_STRIPE_KEY' }] }],
    ['secret_refs/0/name', { secret_refs: [{ name: 'prod-key', ref: 'env://KEY' }] }],
    [
      'config/connectors/product/settings/url',
      { config: { policies: {}, connectors: { product: product('https://api.shop-prod.example.com') } } },
    ],
  ] as const satisfies readonly (readonly [string, Partial<Bundle>])[]

  test.each(PROD)('%s is found wherever the word stands', async (path, more) => {
    const bundle = bundleOf(into.slug, { webhook_routes: [], ...more })
    expect((await planImport(deps, into.id, { bundle })).faults).toContainEqual({
      path: `/body/bundle/${path}`,
      message: 'is a name of prod, and this workspace is of dev',
    })
  })

  test('are not words that only begin or end so, nor the path of an address', () => {
    const connectors = {
      production: product('https://products.example.com/prod/reproduction'),
      'app-devices': product('https://shop.dev/'),
    }
    const config = { policies: { devoted: {}, prods: {} }, connectors }
    const secret_refs = [{ name: 'reprod', ref: 'vault://kv/production/key#devkey' }]
    const bundle = bundleOf('shop-dev', { config, secret_refs, webhook_routes: [] })
    expect([...environmentFaults('dev', bundle), ...environmentFaults('prod', bundle)]).toEqual([])
  })
})

describe('beyond a quota', () => {
  const limit = (id: string, quotas: Partial<Quotas>) =>
    setQuotas({ db: hub.database.db, environment: 'dev' }, { id, quotas }, CHANGE)

  test('a bundle is refused by its plan, with each quota in its place', async () => {
    await limit(into.id, { connectors: 1, secret_refs: 3, webhook_routes: 0, config_versions: 0 })
    const plan = await planImport(deps, into.id, { bundle: bundleOf(into.slug) })
    expect(plan.faults.map(({ path }) => path.replace('/body/bundle/', ''))).toEqual([
      'config/connectors',
      'config',
      'secret_refs',
      'webhook_routes',
    ])
  })

  test('what a plan calls valid is imported: one less, one replaced, never one more', async () => {
    await load(into.id, bundleOf(into.slug))
    await limit(into.id, { connectors: 1, secret_refs: 4, webhook_routes: 1 })
    const bundle = bundleOf(into.slug)
    const renamed = [...bundle.secret_refs.slice(0, 3), { name: 'fresh', ref: 'env://FRESH' }]
    const full = { ...bundle, secret_refs: renamed, webhook_routes: [] }
    // The old one is needed until the routes are changed: for a moment there would be five.
    expect((await planImport(deps, into.id, { bundle: full })).faults.map(({ path }) => path)).toEqual([
      '/body/bundle/secret_refs',
    ])
    await load(into.id, { ...bundle, webhook_routes: [{ ...route(), queue: 'low' }] })
    await limit(into.id, { webhook_routes: 0 })
    const less = { ...bundle, config: { ...bundle.config, connectors: { product: product() } } }
    expect((await planImport(deps, into.id, { bundle: less })).faults.map(({ path }) => path)).toEqual([
      '/body/bundle/webhook_routes',
    ])
    await load(into.id, { ...less, webhook_routes: [] })
  })
})

describe('over HTTP', () => {
  test('an export fits the schema that is published, and holds neither ids nor values', async () => {
    await load(from.id, bundleOf(from.slug))
    const token = await hub.access.bearer(from.id)
    const exported = await call<Bundle>('GET', '/bundle/export', token)
    const schema = await call<object>('GET', '/bundle/schema', token)
    expect(schema.body).toEqual(bundleJsonSchema())
    const fits = addFormats.default(new Ajv2020({ allErrors: true, strict: false })).compile(schema.body)
    expect([fits(exported.body), fits.errors]).toEqual([true, null])
    expect(fits({ ...exported.body, secrets: [] })).toBe(false)
    expect(exported.text).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-7/)
    expect(
      await call<Plan>('POST', '/bundle/plan', token, { body: { bundle: exported.body } }),
    ).toMatchObject({
      status: 200,
      body: { valid: true, changes: [] },
    })
  })

  test('a value in the place of a ref is refused and not repeated', async () => {
    const token = await hub.access.bearer(into.id)
    const value = `${'sk_live_'}51Habcdefghijklmnop`
    for (const bundle of [
      bundleOf(into.slug, { secret_refs: [{ name: 'key', ref: value }] }),
      bundleOf(into.slug, {
        config: { policies: {}, connectors: { api: { ...api(), secrets: { token: value } } } },
      }),
    ]) {
      const answer = await call('POST', '/bundle/plan', token, { body: { bundle } })
      expect(answer).toMatchObject({ status: 400, body: { code: 'validation_error' } })
      expect(answer.text).not.toContain(value)
    }
  })

  test('reading does not allow importing', async () => {
    const reader = await hub.access.bearer(into.id, { scopes: ['orchestrator.control.read'] })
    const bundle = bundleOf(into.slug)
    const { digest } = (await call<Plan>('POST', '/bundle/plan', reader, { body: { bundle } })).body
    const body = { bundle, plan: digest, reason: 'a test' }
    expect((await call('POST', '/bundle/import', reader, { body })).status).toBe(403)
    const writer = await hub.access.bearer(into.id)
    expect(
      await call('POST', '/bundle/import', writer, { body: { ...body, plan: '0'.repeat(64) } }),
    ).toMatchObject({
      status: 412,
      body: { code: 'plan_changed' },
    })
    expect(await call('POST', '/bundle/import', writer, { body })).toMatchObject({
      status: 200,
      body: { imported: true },
    })
  })
})
