import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { verifyChain } from '../audit/audit.ts'
import { putSecretRef, secretNames } from '../secrets/secrets.ts'
import { webhookRoutesControl } from './webhook-routes.control.ts'
import { createRouteDirectory, type RouteDirectory } from './webhook-routes.ts'

let hub: CallingHub
let call: CallServer
let directory: RouteDirectory
let token: string
let number = 0

interface Route {
  readonly id: string
  readonly version: number
  readonly [field: string]: unknown
}

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  const { db, platform } = hub.database
  const kinds = new Map([
    ['product', 'callback'],
    ['second-product', 'callback'],
    ['stripe-api', 'http'],
  ])
  call = await hub.serve((app) =>
    webhookRoutesControl(app, {
      db,
      plainRoutes: async () => () => true,
      heldOf: async () => ({ events: 0, most: 1 }),
      checks: {
        providerFaults: () => [],
        gapFaults: () => [],
        connectorKind: async (_on, _tenantId, name) => kinds.get(name),
        secretNames,
        workspaces: hub.directory,
      },
    }),
  )
  await putSecretRef(db, { tenantId: hub.tenantId, name: 'second', ref: 'env://SECOND' }, CHANGE)
  directory = createRouteDirectory(platform)
})
afterAll(async () => {
  await directory.close()
  await hub.close()
})
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId)
})

const REASON = 'for the test'
const make = async (more: object = {}): Promise<Route> => {
  const { body } = await call<Route>('POST', '/webhook-routes', token, {
    body: {
      ...{ provider: 'stripe', account: `acct_${++number}`, livemode: false, connector: 'product' },
      ...{ secret_refs: ['signing'], reason: REASON, ...more },
    },
  })
  return body
}
const change = (id: string, body: object, ifMatch?: string, who = token) =>
  call<Route & { code?: string; details?: { path: string }[] }>('PATCH', `/webhook-routes/${id}`, who, {
    body: { reason: REASON, ...body },
    ...(ifMatch !== undefined && { headers: { 'if-match': ifMatch } }),
  })
const turn = (verb: 'pause' | 'resume', id: string, who = token, reason = REASON) =>
  call<Route & { code?: string }>('POST', `/webhook-routes/${id}/${verb}`, who, { body: { reason } })
const entriesOf = (id: string) =>
  hub.query<{ action: string; reason: string; diff: { path: string }[] }>(
    `select action, reason, diff from audit_entry where tenant_id = $1 and object = $2 order by seq`,
    [hub.tenantId, `webhook_route:${id}`],
  )

describe('a change', () => {
  test('says everything that may change, is audited field by field and known to ingress at once', async () => {
    const made = await make()
    const said = {
      connector: 'second-product',
      secret_refs: ['signing', 'second'],
      secret_windows: [
        {
          secret_ref: 'second',
          valid_from: '2026-11-01T00:00:00.000Z',
          valid_until: '2026-12-01T00:00:00.000Z',
        },
      ],
      queue: 'low',
      event_types: ['invoice.*'],
      emit_on_delivery: [{ event_types: ['invoice.paid'], event: 'paid' }],
      ordering: { key: '/data/object/id', limit_ms: 60_000 },
      gap_check: { connector: 'stripe-api', pull: 'automatic', every_seconds: 300, settings: { a: 1 } },
      settings: { template: 'x' },
    }
    const changed = await change(made.id, said, `"${made.version}"`)
    expect(changed).toMatchObject({ status: 200, headers: { etag: '"2"' } })
    expect(changed.body).toEqual({ ...made, ...said, version: 2 })
    expect((await call('GET', `/webhook-routes/${made.id}`, token)).body).toEqual(changed.body)
    const entries = await entriesOf(made.id)
    expect(entries.map(({ action }) => action)).toEqual(['webhook_route.created', 'webhook_route.changed'])
    expect(entries[1]?.diff.map(({ path }) => path).sort()).toEqual(
      Object.keys(said)
        .map((name) => `/${name}`)
        .sort(),
    )
    expect(await verifyChain(hub.database.db, hub.tenantId)).toMatchObject({ intact: true })
    expect((await directory.refresh()).byId('stripe', made.id)).toMatchObject({
      connector: 'second-product',
      secretWindows: [{ secretRef: 'second', validFrom: new Date('2026-11-01T00:00:00Z') }],
      ordering: { key: '/data/object/id', limitMs: 60_000 },
      gapCheck: { connector: 'stripe-api', pull: 'automatic', everySeconds: 300, settings: { a: 1 } },
    })
    const back = { ordering: null, gap_check: null, secret_windows: [], settings: {} }
    expect((await change(made.id, back, '*')).body).toMatchObject({ ...back, version: 3, queue: 'low' })
  })

  test('leaves alone what it does not name, and is none when it says nothing new', async () => {
    const made = await make({ queue: 'critical', event_types: ['a.*'] })
    const same = await change(made.id, { event_types: ['a.*'] })
    expect(same).toMatchObject({ status: 200, body: made })
    expect(await entriesOf(made.id)).toHaveLength(1)
    expect((await change(made.id, { event_types: ['b.*'] }, '"1"')).body).toEqual({
      ...made,
      event_types: ['b.*'],
      version: 2,
    })
  })

  test('needs the version that was seen, and loses nothing of two that are made at once', async () => {
    const made = await make()
    expect(await change(made.id, { queue: 'low' })).toMatchObject({
      status: 428,
      body: { code: 'precondition_required' },
    })
    const both = await Promise.all(
      ['low', 'critical'].map((queue) => change(made.id, { queue }, `"${made.version}"`)),
    )
    expect(both.map(({ status }) => status).sort()).toEqual([200, 412])
    expect(both.find(({ status }) => status === 412)?.body).toMatchObject({
      code: 'version_mismatch',
      version: 2,
    })
    for (const tag of ['W/"1"', '"1", "2"', 'one', '"99999999999"'])
      expect(await change(made.id, { queue: 'low' }, tag)).toMatchObject({
        status: 400,
        body: { details: [{ path: '/headers/if-match' }] },
      })
  })

  test.each<[string, object, string]>([
    ['another provider', { provider: 'github' }, '/body/provider'],
    ['another account', { account: 'acct_x' }, '/body/account'],
    ['the other mode', { livemode: true }, '/body/livemode'],
    ['no secret', { secret_refs: [] }, '/body/secret_refs'],
    ['an unknown secret', { secret_refs: ['nobody'] }, '/body/secret_refs/0'],
    ['an unknown connector', { connector: 'nobody' }, '/body/connector'],
    ['a connector of another kind', { connector: 'stripe-api' }, '/body/connector'],
    ['a connector of the hub itself', { connector: 'orch-verify-x' }, '/body/connector'],
    [
      'a secret that leaves its window behind',
      { secret_refs: ['second'] },
      '/body/secret_windows/0/secret_ref',
    ],
    ['no reason', { reason: undefined, queue: 'low' }, '/body/reason'],
  ])('to %s is refused, whatever version was seen', async (_what, body, path) => {
    const window = { secret_ref: 'signing', valid_from: '2026-01-01T00:00:00Z', valid_until: null }
    const made = await make({ secret_windows: [window] })
    const refused = await change(made.id, body, '"77"')
    expect(refused).toMatchObject({ status: 400, body: { code: 'validation_error' } })
    expect(refused.body.details?.map((detail) => detail.path)).toContain(path)
    expect((await call('GET', `/webhook-routes/${made.id}`, token)).body).toEqual(made)
  })

  test('to a secret of another own-account route is refused', async () => {
    await make({ account: null, secret_refs: ['signing'] })
    const own = await make({ account: null, secret_refs: ['second'] })
    expect(await change(own.id, { secret_refs: ['second', 'signing'] }, '*')).toMatchObject({ status: 409 })
  })
})

describe('a pause', () => {
  test('holds and lets go, each once and audited, with who, when and why', async () => {
    const made = await make()
    const paused = await turn('pause', made.id, token, 'the shop moves')
    expect(paused).toMatchObject({
      status: 200,
      headers: { etag: '"2"' },
      body: { version: 2, paused: { at: expect.stringMatching(/Z$/), why: 'the shop moves' } },
    })
    // The first reason stays.
    expect((await turn('pause', made.id, token, 'another')).body).toEqual(paused.body)
    expect((await directory.refresh()).byId('stripe', made.id)?.paused).toMatchObject({
      why: 'the shop moves',
    })
    expect((await turn('resume', made.id)).body).toEqual({ ...made, version: 3 })
    expect((await turn('resume', made.id)).body).toEqual({ ...made, version: 3 })
    expect((await entriesOf(made.id)).map(({ action, reason }) => [action, reason])).toEqual([
      ['webhook_route.created', REASON],
      ['webhook_route.paused', 'the shop moves'],
      ['webhook_route.resumed', REASON],
    ])
    const events = await hub.query(
      `select type from event where tenant_id = $1 and data ->> 'route_id' = $2 order by seq`,
      [hub.tenantId, made.id],
    )
    expect(events).toEqual([{ type: 'webhook_route.paused' }, { type: 'webhook_route.resumed' }])
  })
})

test('a route of another workspace looks exactly like a missing one', async () => {
  const { id } = await make()
  const stranger = await hub.access.bearer(hub.otherId)
  const said = (answer: { text: string }) =>
    answer.text.replace(/"(request_id|trace_id|instance)":"[^"]*"/g, '')
  for (const ask of [
    (of: string) => change(of, { queue: 'low' }, '*', stranger),
    (of: string) => turn('pause', of, stranger),
    (of: string) => turn('resume', of, stranger),
  ]) {
    const [foreign, missing] = [await ask(id), await ask(newId())]
    expect(foreign).toMatchObject({ status: 404 })
    expect(said(foreign)).toBe(said(missing))
  }
  expect((await call('GET', `/webhook-routes/${id}`, token)).body).toMatchObject({ version: 1, paused: null })
})
