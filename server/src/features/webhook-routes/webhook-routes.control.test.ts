import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { accessAs } from '../../../testing/access-as.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { createHttpServer } from '../../platform/http/server.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { verifyChain } from '../audit/audit.ts'
import { createWorkspaceDirectory } from '../workspaces/workspaces.ts'
import { webhookRoutesControl } from './webhook-routes.control.ts'
import { routesOfSecret, type WebhookRoute } from './webhook-routes.ts'

const A = newId()
const B = newId()
const LIVE = newId()

let database: TestDatabase
let app: HttpServer
let stop: () => Promise<void>
let heldEvents = 0
let isFound: (route: WebhookRoute) => boolean = () => true
/** Fingerprints of the values behind secret refs that can be read. */
const values = new Map<string, readonly string[]>()

const principalOf = (authorization: string | undefined) => {
  const [tenantId = '', ...scopes] = (authorization ?? '').replace('Bearer ', '').split(' ')
  if (!tenantId) throw new Problem('auth_required', 'Who are you?')
  return {
    subject: 'svc:operator',
    tenantId,
    scopes: new Set(scopes.map((scope) => `orchestrator.control.${scope}`)),
  }
}

beforeAll(async () => {
  database = await testDatabase()
  const { db, log, metrics } = database.platform
  for (const [id, slug, environment] of [
    [A, 'a-dev', 'dev'],
    [B, 'b-dev', 'dev'],
    [LIVE, 'a-prod', 'prod'],
  ])
    await db.execute(
      { name: '', text: 'insert into workspace (id, slug, name, environment) values ($1, $2, $2, $3)' },
      [id, slug, environment],
    )
  const dev = createWorkspaceDirectory({ ...database.platform, environment: 'dev' })
  const prod = createWorkspaceDirectory({ ...database.platform, environment: 'prod' })
  app = await createHttpServer({
    log,
    metrics,
    trustedProxies: [],
    bodyLimitBytes: 100_000,
    handlerTimeoutMs: 20_000,
    checks: [],
    access: accessAs(principalOf),
  })
  const kinds = new Map([
    ['product', 'callback'],
    ['stripe-api', 'http'],
  ])
  webhookRoutesControl(app, {
    db,
    plainRoutes: async () => (route) => isFound(route),
    heldOf: async () => ({ events: heldEvents, most: 10_000 }),
    checks: {
      gapFaults: () => [],
      providerFaults: (name, settings) => [
        ...(name === 'stripe'
          ? []
          : [{ path: '/provider', message: 'is not a webhook provider of this hub' }]),
        ...(Object.keys(settings).length === 0 ? [] : [{ path: '/settings', message: 'must be empty' }]),
      ],
      connectorKind: async (_on, _tenantId, name) => kinds.get(name),
      secretNames: async (_on, tenantId) =>
        new Set(tenantId === B ? ['only-of-b'] : ['stripe', 'stripe-old', 'connect']),
      workspaces: { find: async (id) => (await dev.find(id)) ?? prod.find(id) },
      fingerprintsOf: async (_tenantId, names) =>
        new Map(names.flatMap((name) => (values.has(name) ? [[name, values.get(name) ?? []]] : []))),
    },
  })
  await app.ready()
  stop = async () => {
    dev.close()
    prod.close()
    await app.close()
  }
})

afterAll(async () => {
  await stop()
  await database.drop()
})

const call = async (
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  url: string,
  payload?: object,
  tenantId = A,
  scopes = 'read write',
) => {
  const answer = await app.inject({
    method,
    url,
    headers: { authorization: `Bearer ${tenantId} ${scopes}`, 'x-request-id': 'same' },
    ...(payload && { payload }),
  })
  return {
    status: answer.statusCode,
    text: answer.body,
    headers: answer.headers,
    json: answer.body === '' ? undefined : answer.json(),
  }
}

const NEW = {
  provider: 'stripe',
  livemode: false,
  connector: 'product',
  secret_refs: ['connect'],
  reason: 'first events of the shop',
}
const create = (change: object = {}, tenantId = A) =>
  call('POST', '/webhook-routes', { ...NEW, ...change }, tenantId)

const rows = async <Row extends object>(text: string, values: readonly unknown[] = []) =>
  (await database.db.execute<Row>({ name: '', text }, values)).rows

describe('a new route', () => {
  it('answers with what it does, is found again and is audited', async () => {
    const created = await create({
      account: 'acct_full',
      secret_refs: ['stripe', 'stripe-old'],
      queue: 'critical',
      event_types: ['invoice.*'],
      emit_on_delivery: [{ event_types: ['invoice.paid'], event: 'billing_state_updated' }],
    })
    expect(created.status).toBe(201)
    const { id } = created.json
    expect(created.headers.location).toBe(`/webhook-routes/${id}`)
    expect(created.json).toEqual({
      id,
      provider: 'stripe',
      account: 'acct_full',
      livemode: false,
      connector: 'product',
      secret_refs: ['stripe', 'stripe-old'],
      queue: 'critical',
      event_types: ['invoice.*'],
      emit_on_delivery: [{ event_types: ['invoice.paid'], event: 'billing_state_updated' }],
      secret_windows: [],
      settings: {},
      ordering: null,
      gap_check: null,
      paused: null,
      version: 1,
      paths: ['/webhooks/stripe', `/webhooks/stripe/${id}`],
      created_at: expect.stringMatching(/Z$/),
      created_by: 'svc:operator',
    })
    expect((await call('GET', `/webhook-routes/${id}`)).json).toEqual(created.json)
    expect(await routesOfSecret(database.db, A, 'stripe-old')).toEqual([`webhook_route:${id}`])
    expect(await routesOfSecret(database.db, B, 'stripe-old')).toEqual([])
    expect(
      await rows(
        'select actor, action, object, reason from audit_entry where tenant_id = $1 order by seq desc limit 1',
        [A],
      ),
    ).toEqual([
      {
        actor: 'svc:operator',
        action: 'webhook_route.created',
        object: `webhook_route:${id}`,
        reason: 'first events of the shop',
      },
    ])
  })

  it('takes every event of the own account into the queue webhook unless told otherwise', async () => {
    const { json } = await create()
    expect(json).toMatchObject({ account: null, queue: 'webhook', event_types: ['*'], emit_on_delivery: [] })
  })

  it('is for live events exactly in a prod workspace', async () => {
    expect((await create({ livemode: true, account: 'acct_l' }, LIVE)).status).toBe(201)
    expect((await create({ livemode: false, account: 'acct_t' }, LIVE)).json).toMatchObject({
      details: [{ path: '/body/livemode', message: 'must be true in a workspace of prod' }],
    })
  })

  it.each<[string, object, string]>([
    ['unknown provider', { provider: 'acme' }, '/body/provider'],
    ['no secret', { secret_refs: [] }, '/body/secret_refs'],
    ['an unknown secret ref', { secret_refs: ['stripe', 'nobody'] }, '/body/secret_refs/1'],
    ['a secret ref of another workspace', { secret_refs: ['only-of-b'] }, '/body/secret_refs/0'],
    ['the same secret ref twice', { secret_refs: ['stripe', 'stripe'] }, '/body/secret_refs'],
    ['unknown connector', { connector: 'nobody' }, '/body/connector'],
    ['a connector of another kind', { connector: 'stripe-api' }, '/body/connector'],
    ['live events in dev', { livemode: true }, '/body/livemode'],
    ['livemode as text', { livemode: 'false' }, '/body/livemode'],
    ['unknown queue', { queue: 'fast' }, '/body/queue'],
    ['an empty filter', { event_types: [] }, '/body/event_types'],
    [
      'a window of a secret that is none of its own',
      { secret_windows: [{ secret_ref: 'connect-2', valid_from: null, valid_until: null }] },
      '/body/secret_windows/0/secret_ref',
    ],
    [
      'two windows of one secret',
      {
        secret_windows: [
          { secret_ref: 'connect', valid_from: null, valid_until: null },
          { secret_ref: 'connect', valid_from: null, valid_until: null },
        ],
      },
      '/body/secret_windows/1/secret_ref',
    ],
    [
      'a window that ends before it begins',
      {
        secret_windows: [
          { secret_ref: 'connect', valid_from: '2026-12-02T00:00:00Z', valid_until: '2026-12-01T00:00:00Z' },
        ],
      },
      '/body/secret_windows/0/valid_until',
    ],
    [
      'a moment that does not exist',
      {
        secret_windows: [{ secret_ref: 'connect', valid_from: '2026-12-31T23:59:60Z', valid_until: null }],
      },
      '/body/secret_windows/0/valid_from',
    ],
    ['settings that are none', { settings: [] }, '/body/settings'],
    ['settings of nobody', { settings: { anything: 1 } }, '/body/settings'],
    ['an ordering without a limit', { ordering: { key: '/id' } }, '/body/ordering/limit_ms'],
    ['an ordering by no pointer', { ordering: { key: 'id', limit_ms: 1_000 } }, '/body/ordering/key'],
    [
      'a gap check over a connector that is not there',
      { gap_check: { connector: 'nobody', pull: 'manual', every_seconds: 60, settings: {} } },
      '/body/gap_check/connector',
    ],
    [
      'a gap check over the callback',
      { gap_check: { connector: 'product', pull: 'manual', every_seconds: 60, settings: {} } },
      '/body/gap_check/connector',
    ],
    ['an empty account', { account: '' }, '/body/account'],
    ['an account with a space', { account: 'acct 1' }, '/body/account'],
    [
      'an event of the hub itself',
      { emit_on_delivery: [{ event_types: ['*'], event: 'job.done' }] },
      '/body/emit_on_delivery/0/event',
    ],
    ['an unknown field', { tenant_id: B }, '/body/tenant_id'],
    ['no reason', { reason: undefined }, '/body/reason'],
    ['a blank reason', { reason: '  ' }, '/body/reason'],
  ])('is refused with %s, and nothing is stored', async (_what, change, path) => {
    const before = await rows('select count(*) from webhook_route')
    const refused = await create(change)
    expect(refused).toMatchObject({ status: 400, json: { code: 'validation_error' } })
    expect(refused.json.details.map((detail: { path: string }) => detail.path)).toContain(path)
    expect(await rows('select count(*) from webhook_route')).toEqual(before)
  })

  it('delivers to no connector that the hub keeps for its verifications', async () => {
    const { json } = await create({ connector: 'orch-verify-callback' })
    expect(json.details[0]).toMatchObject({
      path: '/body/connector',
      message: expect.stringContaining('reserved'),
    })
  })

  it('names every fault at once', async () => {
    const { json } = await create({ provider: 'acme', connector: 'nobody', livemode: true })
    expect(json.details).toHaveLength(3)
  })

  it('is refused for a claimed account, in the same words whoever claims it', async () => {
    expect((await create({ account: 'acct_claimed' })).status).toBe(201)
    const own = await create({ account: 'acct_claimed' })
    const others = await create({ account: 'acct_claimed', secret_refs: ['only-of-b'] }, B)
    expect(own).toMatchObject({ status: 409, json: { code: 'conflict' } })
    expect(others.text).toBe(own.text)
    expect(others.text).not.toMatch(new RegExp(`${A}|a-dev|acct_claimed`))
  })

  it('is refused when another own-account route would verify with the same secret', async () => {
    expect((await create({ secret_refs: ['stripe-old'] })).status).toBe(201)
    expect(await create({ secret_refs: ['stripe', 'stripe-old'] })).toMatchObject({ status: 409 })
    // A route of an account is told apart by the account.
    expect((await create({ secret_refs: ['stripe-old'], account: 'acct_same_secret' })).status).toBe(201)
  })

  it('is refused when another own-account route would verify with the same value, as far as it can be read', async () => {
    await rows('delete from webhook_route')
    expect((await create({ secret_refs: ['stripe'] })).status).toBe(201)
    values.set('stripe', ['v2', 'v1']).set('connect', ['v1']).set('stripe-old', ['v0'])
    expect(await create({ secret_refs: ['stripe-old', 'connect'] })).toMatchObject({
      status: 409,
      json: { code: 'conflict', details: [{ path: '/body/secret_refs/1' }] },
    })
    expect((await create({ secret_refs: ['connect'], account: 'acct_same_value' })).status).toBe(201)
    const made = await create({ secret_refs: ['stripe-old'] })
    expect(made.status).toBe(201)
    const change = { secret_refs: ['stripe-old', 'connect'], reason: 'one more' }
    expect(await call('PATCH', `/webhook-routes/${made.json.id}`, change)).toMatchObject({
      status: 409,
      json: { details: [{ path: '/body/secret_refs/1' }] },
    })
    values.clear()
    await rows('delete from webhook_route where id = $1', [made.json.id])
    expect((await create({ secret_refs: ['stripe-old', 'connect'] })).status).toBe(201)
    await rows('delete from webhook_route')
  })

  it('says when the address without its id does not find it', async () => {
    isFound = () => false
    const { json } = await create({ account: 'acct_beyond' })
    expect(json.paths).toEqual([`/webhooks/stripe/${json.id}`])
    const { json: page } = await call('GET', '/webhook-routes?limit=1')
    expect(page.data[0].paths).toEqual(json.paths)
    isFound = () => true
    expect((await call('GET', `/webhook-routes/${json.id}`)).json.paths).toEqual([
      '/webhooks/stripe',
      ...json.paths,
    ])
  })

  it('needs the scope for writing', async () => {
    expect(await call('POST', '/webhook-routes', NEW, A, 'read')).toMatchObject({ status: 403 })
    expect(await call('GET', '/webhook-routes', undefined, A, '')).toMatchObject({ status: 403 })
  })
})

describe('the list', () => {
  it('is paged, newest first, and of one workspace', async () => {
    const ids: string[] = []
    for (const account of ['acct_p1', 'acct_p2', 'acct_p3'])
      ids.unshift((await create({ account, secret_refs: ['only-of-b'] }, B)).json.id)
    const first = (await call('GET', '/webhook-routes?limit=2', undefined, B)).json
    expect(first.data.map(({ id }: { id: string }) => id)).toEqual(ids.slice(0, 2))
    const second = (await call('GET', `/webhook-routes?limit=2&cursor=${first.next_cursor}`, undefined, B))
      .json
    expect(second.data.map(({ id }: { id: string }) => id)).toEqual(ids.slice(2))
    expect(second.next_cursor).toBeNull()
    expect((await call('GET', '/webhook-routes?provider=github', undefined, B)).json.data).toEqual([])
  })

  it.each(['cursor=nonsense', 'cursor=WzFd', 'limit=0', 'limit=x', 'color=red'])(
    'refuses %s',
    async (query) => {
      expect(await call('GET', `/webhook-routes?${query}`)).toMatchObject({
        status: 400,
        json: { code: 'validation_error' },
      })
    },
  )
})

describe('one route', () => {
  it('of another workspace looks exactly like a missing one', async () => {
    const { id } = (await create({ account: 'acct_private' })).json
    for (const [method, query] of [
      ['GET', ''],
      ['DELETE', '?reason=mine'],
    ] as const) {
      const missing = await call(method, `/webhook-routes/${newId()}${query}`)
      const foreign = await call(method, `/webhook-routes/${id}${query}`, undefined, B)
      expect(missing).toMatchObject({ status: 404, json: { code: 'not_found' } })
      expect(foreign.text).toBe(missing.text)
    }
    expect((await call('GET', `/webhook-routes/${id}`)).status).toBe(200)
  })

  it('that holds events is deleted only by who says that they are delivered then', async () => {
    const { id } = (await create({ account: 'acct_holds' })).json
    heldEvents = 3
    expect(await call('DELETE', `/webhook-routes/${id}?reason=moved`)).toMatchObject({
      status: 409,
      json: { code: 'conflict', held_events: 3, detail: expect.stringContaining('holds 3 events') },
    })
    heldEvents = 10_000
    expect(await call('DELETE', `/webhook-routes/${id}?reason=moved`)).toMatchObject({
      json: { detail: expect.stringContaining('at least 10000 events') },
    })
    expect(await call('GET', `/webhook-routes/${id}`)).toMatchObject({ status: 200 })
    expect(await call('DELETE', `/webhook-routes/${id}?reason=moved&held=drop`)).toMatchObject({
      status: 400,
    })
    expect(await call('DELETE', `/webhook-routes/${id}?reason=moved&held=deliver`)).toMatchObject({
      status: 204,
    })
    heldEvents = 0
  })

  it('is deleted with a reason and frees its account for another workspace', async () => {
    const { id } = (await create({ account: 'acct_moves' })).json
    expect(await call('DELETE', `/webhook-routes/${id}`)).toMatchObject({ status: 400 })
    expect(await call('DELETE', `/webhook-routes/${id}?reason=moved`)).toMatchObject({
      status: 204,
      text: '',
    })
    expect(await call('GET', `/webhook-routes/${id}`)).toMatchObject({ status: 404 })
    expect(
      await rows('select action, reason from audit_entry where tenant_id = $1 order by seq desc limit 1', [
        A,
      ]),
    ).toEqual([{ action: 'webhook_route.deleted', reason: 'moved' }])
    expect((await create({ account: 'acct_moves', secret_refs: ['only-of-b'] }, B)).status).toBe(201)
    expect(await verifyChain(database.db, A)).toMatchObject({ intact: true })
  })
})
