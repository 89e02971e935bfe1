/** No event ever becomes visible in two workspaces, whatever routes there are and whoever sends what. */
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type TestDatabase,
  type TestPlatform,
  testDatabase,
  testPlatform,
} from '../../../../testing/database.ts'
import { usesUnseen } from '../../../../testing/secret-stores.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { toolsOf, type WebhookSample } from '../../../../testing/webhook-sample.ts'
import { WEBHOOK_SAMPLES } from '../../../../testing/webhook-samples.ts'
import {
  claimable,
  expectedOf,
  type KnownRoute,
  makeRequest,
  PLACES,
  type Place,
  type PlannedRequest,
  type World,
  worlds,
} from '../../../../testing/webhook-worlds.ts'
import { systemClock } from '../../../platform/clock.ts'
import { newId } from '../../../platform/ids.ts'
import { Secret } from '../../../platform/secret.ts'
import { createSecretResolver } from '../../secrets/secrets.ts'
import { createWorkspaceDirectory } from '../../workspaces/workspaces.ts'
import { PROVIDERS } from '../providers/registry.ts'

const HOUR = 3_600_000
const sampleOf = (provider: string): WebhookSample =>
  WEBHOOK_SAMPLES[provider] ?? expect.unreachable(`no sample of ${provider}`)
const accountNames = new Map(
  Object.entries(WEBHOOK_SAMPLES).map(([provider, sample]) => [provider, claimable(sample, provider)]),
)

let database: TestDatabase
let platform: TestPlatform
let hub: WebhookHub
const tenants = new Map<Place, string>()
/** Tables with a tenant, each with the text of all its rows. */
let tables: string[]
let now = Date.now()

beforeAll(async () => {
  database = await testDatabase()
  // A second later at each request: the hub asks other routes only for so many of them in one.
  platform = testPlatform(database.url, { clock: { ...systemClock, now: () => now } })
  const resolveAway = createSecretResolver({
    ...{ db: platform.db, clock: systemClock, lastUsed: usesUnseen },
    directory: createWorkspaceDirectory({ ...platform, environment: 'dev' }),
    readRef: async () => ({ why: 'the store is away', away: true }),
  })
  const resolve = async (tenantId: string, name: string): Promise<Secret> =>
    name.startsWith('away-')
      ? resolveAway(tenantId, 'away')
      : new Secret(`${hub.secrets.get(`${tenantId}/${name}`)}`)
  hub = webhookHub(platform, 'dev', resolve, undefined, toolsOf(sampleOf('paypal')))
  for (const place of PLACES) {
    const id = await hub.workspace(place === 'prod' ? 'place-prod' : `${place}-dev`)
    tenants.set(place, id)
    await hub.query(`insert into secret_ref (tenant_id, name, ref) values ($1, 'away', 'vault://kv/a#b')`, [
      id,
    ])
    if (place === 'suspended')
      await hub.query(`update workspace set status = 'suspended' where id = $1`, [id])
    if (place === 'deleting')
      await hub.query(
        `update workspace set status = 'deleting', status_before = 'active', delete_after = now() + interval '7 days'
         where id = $1`,
        [id],
      )
  }
  const found = await hub.query<{ name: string }>(
    `select c.relname as name from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
     where c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace = current_schema()::regnamespace
     order by 1`,
  )
  tables = found.map(({ name }) => name)
})
afterAll(async () => {
  await hub.close()
  await platform.notifications.close()
  await Promise.all([platform.db.close(), platform.requestDb.close(), platform.owner.close()])
  await database.drop()
})

const tenantOf = (place: Place): string => tenants.get(place) ?? expect.unreachable('no such workspace')

/** Puts exactly these routes there, past the rules of the API, which some of them break. */
async function settle(provider: string, planned: World['routes']): Promise<(KnownRoute & { id: string })[]> {
  const names = accountNames.get(provider) ?? []
  const taken = new Set<string>()
  const routes = planned.flatMap((route) => {
    const account = route.claims === null ? undefined : names[route.claims % Math.max(1, names.length)]
    const claim = `${account} ${route.livemode}`
    if (account !== undefined && taken.has(claim)) return []
    taken.add(claim)
    return [{ ...route, id: newId(), account: account ?? null }]
  })
  const windows = {
    always: [],
    open: [-HOUR, HOUR],
    over: [-2 * HOUR, -HOUR],
    'not yet': [HOUR, 2 * HOUR],
    away: [],
  }
  const refOf = ({ secret, window }: KnownRoute['secrets'][number]) =>
    `${window === 'away' ? 'away' : 'secret'}-${provider}-${secret}`
  const sample = sampleOf(provider)
  await hub.query('delete from webhook_route')
  // The same routes of another provider are nobody's competitors.
  const others = routes.map((route) => ({ ...route, id: newId() }))
  const rows = [
    ...routes.map((route) => ({ provider, route })),
    ...others.map((route) => ({ provider: provider === 'stripe' ? 'svix' : 'stripe', route })),
  ].map(({ provider: of, route }) => ({
    ...{ id: route.id, tenant_id: tenantOf(route.place), provider: of },
    ...{ account: route.account, livemode: route.livemode },
    secret_refs: route.secrets.map(refOf),
    secret_windows: route.secrets.flatMap(({ secret, window }) => {
      const [from, until] = windows[window].map((ms) => new Date(now + ms).toISOString())
      const secret_ref = `secret-${provider}-${secret}`
      return window === 'always' || window === 'away'
        ? []
        : [{ secret_ref, valid_from: from, valid_until: until }]
    }),
    settings: of === provider ? (sample.settings ?? {}) : {},
  }))
  await hub.query(
    `insert into webhook_route (tenant_id, id, provider, account, livemode, connector, secret_refs, secret_windows,
                                settings, queue, event_types, created_by)
     select tenant_id, id, provider, account, livemode, 'product', secret_refs, secret_windows, settings, 'webhook',
            '{*}', 'test'
     from json_to_recordset($1) as r (tenant_id uuid, id uuid, provider text, account text, livemode boolean,
                                      secret_refs text[], secret_windows json, settings json)`,
    [JSON.stringify(rows)],
  )
  for (const tenantId of tenants.values())
    for (const [number, value] of sample.secrets.entries())
      hub.secrets.set(`${tenantId}/secret-${provider}-${number}`, value)
  await hub.routes.refresh()
  return routes
}

/** Workspaces with anything of an event, in whatever table and spelling, with the names of the tables. */
async function whoHas(mark: string): Promise<Map<string, string[]>> {
  const hex = Buffer.from(mark).toString('hex')
  const parts = tables.map(
    (name) =>
      `select '${name}' as name, tenant_id::text from ${name} t where t::text like '%${mark}%' or t::text like '%${hex}%'`,
  )
  const rows = await hub.query<{ name: string; tenant_id: string }>(parts.join(' union '))
  const owners = new Map<string, string[]>()
  for (const { name, tenant_id: tenantId } of rows)
    owners.set(tenantId, [...(owners.get(tenantId) ?? []), name].sort())
  return owners
}

async function send(provider: string, routes: readonly { readonly id: string }[], planned: PlannedRequest) {
  now += 1_001
  const mark = `ev-${newId()}`
  const routeId =
    planned.to === undefined
      ? undefined
      : ((planned.to === 'nobody' ? undefined : routes[planned.to]?.id) ?? newId())
  const path = `/webhooks/${provider}${routeId === undefined ? '' : `/${routeId}`}`
  const url = `https://hooks.example.com${path}`
  const { signed, events } = makeRequest(sampleOf(provider), provider, planned, { mark, nowMs: now, url })
  const answer = await hub
    .accept({
      ...{ provider: PROVIDERS.get(provider) ?? expect.unreachable('no such provider'), routeId, url },
      ...{ raw: signed.raw, headers: signed.headers },
      call: { requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32), traceparent: '' },
    })
    .then(
      ({ kind }) => (kind === 'quarantined' ? 202 : 200),
      ({ status }: { status: number }) => status,
    )
  return { mark, events, answer }
}

/** How often what was expected, so that the test cannot come to prove nothing. */
const seen = { taken: 0, several: 0, kept: 0, refused: 0, unsure: 0, contested: 0 }

async function holdsFor({ provider, routes: planned, requests }: World): Promise<void> {
  const routes = await settle(provider, planned)
  for (const request of requests) {
    const kept = hub.quarantined.length
    const { mark, events, answer } = await send(provider, routes, request)
    const expected = expectedOf(provider, sampleOf(provider), routes, request, events)
    expect(answer).toBe(expected.status)
    const contested = ({ place, account, livemode }: KnownRoute) =>
      account !== null &&
      !livemode &&
      events.some(
        ({ accounts }, at) => accounts.includes(account) && owners[at] !== undefined && owners[at] !== place,
      )
    const owners = expected.status === 200 ? expected.owners : events.map(() => undefined)
    for (const [at, owner] of owners.entries()) {
      const id = `${mark}-${at}`
      const has = await whoHas(id)
      expect([...has.keys()]).toEqual(owner === undefined ? [] : [tenantOf(owner)])
      for (const names of has.values())
        expect(names).toEqual(expect.arrayContaining([expect.stringMatching(/^webhook_(inbox|payload)$/)]))
    }
    if (owners.includes(undefined)) expect(hub.quarantined.length).toBeGreaterThan(kept)
    if (expected.status === 503) seen.unsure += 1
    else if (expected.status === 401) seen.refused += 1
    else if (owners.includes(undefined)) seen.kept += 1
    if (owners.some((owner) => owner !== undefined)) seen.taken += 1
    if (request.to === undefined && routes.some(contested)) seen.contested += 1
    if (new Set(owners.filter((owner) => owner !== undefined)).size > 1) seen.several += 1
  }
}

/** Two items of one request are of two workspaces, and the third is nobody's. */
const shared = (place: Place, claims: number) => ({
  ...{ place, claims, livemode: false },
  secrets: [{ secret: 0, window: 'always' as const }],
})
/** A claims nothing and has the secret; B claims the account and has another one, or one that cannot be read. */
const contestedBy = (provider: string, window: 'always' | 'away'): World => ({
  provider,
  routes: [
    { ...shared('active', 0), claims: null },
    { place: 'second', claims: 0, livemode: false, secrets: [{ secret: 1, window }] },
  ],
  requests: [{ accounts: ['acme'], livemode: false, signedWith: [0], old: false, to: undefined }],
})
const EXAMPLES: Readonly<Record<string, World>> = {
  adyen: {
    provider: 'adyen',
    routes: [shared('active', 0), shared('second', 1)],
    requests: [
      {
        accounts: ['acme', 'globex', 'nobody-claims-this'],
        ...{ livemode: false, signedWith: [0], old: false, to: undefined },
      },
    ],
  },
  // Sent to the path of a live route, which this hub must not have, by whoever has the secret of another one.
  'standard-webhooks': {
    provider: 'standard-webhooks',
    routes: [
      {
        ...{ place: 'active', claims: null, livemode: true },
        secrets: [{ secret: 1, window: 'always' }],
      },
      { ...shared('active', 0), claims: null },
    ],
    requests: [{ accounts: [undefined], livemode: false, signedWith: [0], old: false, to: 0 }],
  },
}

describe('an event', () => {
  it.each(Object.keys(WEBHOOK_SAMPLES))(
    'of %s is of one workspace at most, and of the right one',
    async (provider) => {
      await fc.assert(fc.asyncProperty(worlds([provider]), holdsFor), {
        numRuns: 25,
        examples: [
          ...(EXAMPLES[provider] ? [EXAMPLES[provider]] : []),
          ...(PROVIDERS.get(provider)?.accounts === 'any'
            ? [contestedBy(provider, 'always'), contestedBy(provider, 'away')]
            : []),
        ].map((world) => [world]),
      })
    },
  )

  it('was taken, kept and refused often enough above', () => {
    expect(seen.taken).toBeGreaterThan(50)
    expect(seen.kept).toBeGreaterThan(50)
    expect(seen.refused).toBeGreaterThan(50)
    expect(seen.several).toBeGreaterThan(0)
    expect(seen.unsure).toBeGreaterThan(0)
    expect(seen.contested).toBeGreaterThan(0)
  })
})
