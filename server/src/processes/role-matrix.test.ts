/**
 * Every route of both planes and of the listener of emergencies × every role and every scope × {own workspace, another
 * workspace, no workspace, nobody}, made from the published documents and the permission table: a route that is not in
 * the table, a guard that does not hold what the table says, a path parameter that nothing of a workspace is put into,
 * and an answer that shows something of another workspace each fail it.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { everythingOf, openEmergency, type Send } from '../../testing/everything-of-a-workspace.ts'
import { type QueueFixture, queueFixture } from '../../testing/queue-fixture.ts'
import { CHANGE } from '../../testing/tenant-access.ts'
import { loadConfig } from '../config.ts'
import { PLANE_SCOPES, type Plane } from '../features/identities/identities.ts'
import {
  EMERGENCY,
  NO_WORKSPACE,
  PERMISSIONS,
  type Permission,
  type PermissionName,
  PLATFORM_ROLES,
  SIGNED_ON,
  WORKSPACE_ROLES,
} from '../features/permissions/permissions.ts'
import { createWorkspace } from '../features/workspaces/workspaces.ts'
import { issueToken } from '../platform/auth/tokens.ts'
import { systemClock } from '../platform/clock.ts'
import { newId } from '../platform/ids.ts'
import { createLog } from '../platform/log.ts'
import { BUILDERS } from './one.ts'
import { openPlaneKeys, tokenRules } from './plane.ts'
import { type BuiltProcess, stopInOrder } from './runtime.ts'
import { memoryNodeStore } from './shared-store.ts'

/** In names of everything that workspace A has, so that any answer that shows it is found. */
const MARK = 'seen-by-a-only'
type ListenerName = Plane | 'break-glass'
const ROLES = [...Object.keys(WORKSPACE_ROLES), ...Object.keys(PLATFORM_ROLES), SIGNED_ON]
/** Answers that do not end; who may not is answered at once. */
const ENDLESS = new Set(['GET /events/stream'])
/** Path parameters that name nothing of a workspace. */
const OF_NO_WORKSPACE: Readonly<Record<string, string>> = {
  '/dlq/{queue}': 'every workspace has queues of these names',
  '/queues/{queue}': 'every workspace has queues of these names',
  '/operators/{id}': 'people belong to the platform',
  '/operators/invitations/{id}': 'the platform sees all invitations',
  '/platform/quarantine/{id}': 'what is nobody’s belongs to the platform',
  '/break-glass/{id}': 'emergencies belong to the platform',
  '/auth/sessions/{id}': 'sessions belong to one person, not to a workspace',
}
/** Good bodies, without the reason, so that a foreign object is really looked for. */
const BODIES: Readonly<Record<string, object>> = {
  'PATCH /identities/{id}': { scopes: ['orchestrator.execute'] },
  'POST /identities/{id}/rotate-secret': { overlap_seconds: 0 },
  'PUT /trusted-issuers/{id}': {
    ...{ issuer: 'https://b.test/', jwks_url: 'https://b.test/keys', scopes: ['orchestrator.execute'] },
  },
  'POST /executions/{id}/settle': { outcome: 'not_done' },
  'POST /breakers/{connector}/force': { state: 'open', for_ms: 60_000 },
  'PUT /members/{id}': { role: 'admin' },
}
/** What makes an object of the caller's own where there is none: nothing of another workspace can be in its answer. */
const MAKES_OWN = new Set([
  'PUT /policies/{name}',
  'PUT /connectors/{name}',
  'PUT /secret-refs/{name}',
  'PUT /secret-refs/{name}/value',
])

interface Route {
  readonly title: string
  readonly method: string
  readonly path: string
  /** Undefined = public. */
  readonly permission: PermissionName | undefined
}

let database: QueueFixture
let folder: string
let log: ReturnType<typeof createLog>
const built = new Map<Plane, BuiltProcess>()
const apps = new Map<ListenerName, BuiltProcess['app']>()
const cleanUps: (() => unknown)[] = []
/** What A has, by the path up to the parameter that names it. */
let ofA: ReadonlyMap<string, string>
let a: string
let b: string
/** Tokens of emergencies, by where they are. */
let emergency: Readonly<Record<'inA' | 'inB' | 'inNone', string>>
let bearer: (
  plane: Plane,
  tenantId: string,
  grant: { roles?: string[]; scopes?: string[] },
) => Promise<string>

beforeAll(async () => {
  database = await queueFixture()
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-roles-'))
  log = createLog('role-matrix', 'silent')
  const config = loadConfig({
    ...{ DATA_DIR: folder, DATABASE_URL: database.url },
    ...{ BREAK_GLASS_PORT: '1', BREAK_GLASS_ALLOW_CIDRS: '127.0.0.1/32' },
  })
  const environment = { config, databaseUrl: database.url, log, sharedStore: memoryNodeStore() }
  for (const plane of ['control', 'exec'] as const) {
    const one = await BUILDERS[plane](environment)
    await one.app.ready()
    built.set(plane, one)
    apps.set(plane, one.app)
    for (const { app } of one.listeners ?? []) {
      await app.ready()
      apps.set('break-glass', app)
    }
  }
  const keys = {
    control: await openPlaneKeys(config, 'control', { clock: systemClock, log }),
    exec: await openPlaneKeys(config, 'exec', { clock: systemClock, log }),
  }
  cleanUps.push(() => Object.values(keys).forEach((one) => void one.close()))
  bearer = async (plane, tenantId, { roles = [], scopes = [] }) => {
    const rules = tokenRules(config, plane)
    const token = { subject: `operator:${roles[0] ?? 'nobody'}@example.com`, tenantId, scopes, roles }
    const issued = await issueToken(
      { keys: keys[plane], rules, clock: systemClock },
      { ...token, lifetimeSeconds: 600 },
    )
    return `Bearer ${issued.token}`
  }
  const workspace = (slug: string) =>
    createWorkspace({ db: database.db, environment: 'dev' }, { slug, name: slug }, CHANGE)
  a = (await workspace('first-dev')).id
  b = (await workspace('second-dev')).id
  const authorization = {
    control: await bearer('control', a, { roles: ['admin'], scopes: [...PLANE_SCOPES.control] }),
    exec: await bearer('exec', a, { scopes: [...PLANE_SCOPES.exec] }),
  }
  const send: Send = async (plane, method, url, payload) => {
    const reason = plane === 'control' && !url.endsWith('/plans') && { reason: 'a test' }
    const headers = { authorization: authorization[plane], 'if-match': '*' }
    const answer = await appOf(plane).inject({ method, url, payload: { ...payload, ...reason }, headers })
    expect(answer.statusCode, `${method} ${url}: ${answer.body}`).toBeLessThan(300)
    return answer.json()
  }
  emergency = {
    inA: await openEmergency(database, a),
    inB: await openEmergency(database, b),
    inNone: await openEmergency(database, null),
  }
  ofA = await everythingOf(a, MARK, { fixture: database, send })
})
afterAll(async () => {
  for (const cleanUp of cleanUps) cleanUp()
  for (const { app, listeners = [], stopSteps } of built.values()) {
    const servers = [app, ...listeners.map((listener) => listener.app)]
    await stopInOrder(log, 5_000, [
      ['servers', () => Promise.all(servers.map((one) => one.close()))],
      ...stopSteps,
    ])
  }
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

function appOf(listener: ListenerName): BuiltProcess['app'] {
  const app = apps.get(listener)
  if (!app) throw new Error(`the listener ${listener} is not built`)
  return app
}

function routesOf(listener: ListenerName): Route[] {
  const document = appOf(listener).swagger() as unknown as {
    paths: Record<string, Record<string, { description?: string; security?: unknown }>>
  }
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([verb, { description, security }]) => {
      const method = verb.toUpperCase()
      const name = /permission `([a-z_.]+)`/.exec(description ?? '')?.[1] as PermissionName | undefined
      expect(security === undefined, `${method} ${path} is public or names a permission`).toBe(
        name === undefined,
      )
      return { title: `${method} ${path}`, method, path, permission: name }
    }),
  )
}

/** The path up to each of its parameters. */
const parametersOf = (path: string): string[] =>
  [...path.matchAll(/\{\w+\}/g)].map(({ index, 0: { length } }) => path.slice(0, index + length))

/** With the names of A where a path asks for one that A has, and names of nothing elsewhere. */
const urlOf = (path: string): string =>
  path.replaceAll(/\{(\w+)\}/g, (all, parameter: string, at: number) => {
    const own = ofA.get(path.slice(0, at + all.length))
    return own ?? (parameter === 'queue' ? 'default' : newId())
  })

/** What a caller says: nothing that would change anything, or what would, if the object were the caller's. */
type Saying = 'nothing' | 'good'

const ask = async (
  listener: ListenerName,
  route: Route,
  authorization?: string,
  saying: Saying = 'nothing',
) => {
  const { title, method, path } = route
  const reads = method === 'GET'
  const good = saying === 'good' && !reads && !MAKES_OWN.has(title)
  return appOf(listener).inject({
    method: method as 'GET',
    url: `${urlOf(path)}${good && method === 'DELETE' ? '?reason=a+test' : ''}`,
    headers: { ...(authorization !== undefined && { authorization }), ...(good && { 'if-match': '*' }) },
    // Let in or not is decided before the body is read, and an empty one changes nothing.
    ...(!reads && method !== 'DELETE' && { payload: good ? { ...BODIES[title], reason: 'a test' } : {} }),
  })
}

const isAmong = (names: readonly string[], name: string): boolean => names.includes(name)
const guarded = (listener: ListenerName) =>
  routesOf(listener).flatMap(({ permission, ...route }) =>
    permission === undefined ? [] : [{ ...route, permission, needs: PERMISSIONS[permission] as Permission }],
  )
/** What is only for somebody in a workspace: a machine, or a person with a role there, and no role of the platform. */
const isOfWorkspace = ({ scopes, roles }: Permission): boolean =>
  (scopes.length > 0 || roles.some((role) => Object.hasOwn(WORKSPACE_ROLES, role))) &&
  !roles.some((role) => Object.hasOwn(PLATFORM_ROLES, role))

/** The caller enters where the table lets it, and is told 403 everywhere else. */
async function walk(
  listener: ListenerName,
  authorization: string,
  mayEnter: (permission: Permission) => boolean,
): Promise<void> {
  for (const route of guarded(listener)) {
    const enters = mayEnter(route.needs)
    if (enters && ENDLESS.has(route.title)) continue
    const { statusCode, body } = await ask(listener, route, authorization)
    if (enters) {
      // What is decided behind the guard has a code of its own; one's own account needs a session besides.
      expect(statusCode, `${route.title}: ${body}`).not.toBe(403)
      if (route.permission !== 'account.own') expect(statusCode, `${route.title}: ${body}`).not.toBe(401)
      expect(statusCode, `${route.title}: ${body}`).toBeLessThan(500)
    } else expect([statusCode, JSON.parse(body).code], route.title).toEqual([403, 'forbidden'])
  }
}

/** Entries of A's audit log: every change leaves one. */
const changesOfA = async (): Promise<unknown> =>
  (
    await database.db.execute(
      { name: '', text: 'select count(*)::int as n from audit_entry where tenant_id = $1' },
      [a],
    )
  ).rows[0]

/** Somebody of B asks for what A has, by its real names, with all that would change it. */
async function seesNothingOfA(
  listener: ListenerName,
  authorization: string,
  { seesAll = false, mayEnter }: { seesAll?: boolean; mayEnter: (permission: Permission) => boolean },
): Promise<void> {
  const before = await changesOfA()
  const ids = [...ofA.values()].filter((value) => value.length === 36)
  for (const route of guarded(listener)) {
    if (ENDLESS.has(route.title)) continue
    const ofThem = parametersOf(route.path).some((parameter) => ofA.has(parameter))
    const { statusCode, body } = await ask(
      listener,
      route,
      authorization,
      ofThem && !seesAll ? 'good' : 'nothing',
    )
    // Of the people and workspaces of the hub the platform sees all, of what is in a workspace nothing.
    if (seesAll && !isOfWorkspace(route.needs)) continue
    expect(body, route.title).not.toContain(MARK)
    for (const id of ids) expect(body, route.title).not.toContain(id)
    if (seesAll || !ofThem) continue
    if (!mayEnter(route.needs)) expect(statusCode, `${route.title}: ${body}`).toBe(403)
    else if (MAKES_OWN.has(route.title)) expect([400, 428], route.title).toContain(statusCode)
    else expect(statusCode, `${route.title}: ${body}`).toBe(404)
  }
  expect(await changesOfA()).toEqual(before)
}

describe('the path parameters of every route', () => {
  test('are names of something that A has, or are known to name nothing of a workspace', () => {
    const unknown = [...apps.keys()].flatMap((listener) =>
      routesOf(listener)
        .filter(({ permission }) => permission !== undefined)
        .flatMap(({ path }) => parametersOf(path))
        .filter((parameter) => !ofA.has(parameter) && OF_NO_WORKSPACE[parameter] === undefined),
    )
    expect([...new Set(unknown)]).toEqual([])
    const used = new Set(
      [...apps.keys()].flatMap((listener) => routesOf(listener).flatMap(({ path }) => parametersOf(path))),
    )
    expect(
      [...ofA.keys(), ...Object.keys(OF_NO_WORKSPACE)].filter((parameter) => !used.has(parameter)),
    ).toEqual([])
  })

  test('lead to what A has: its own Admin gets each of them', async () => {
    const own = await bearer('control', a, { roles: ['admin'] })
    for (const [parameter] of ofA) {
      const route = routesOf('control').find(({ path, method }) => method === 'GET' && path === parameter)
      if (route) expect((await ask('control', route, own)).statusCode, parameter).toBe(200)
    }
  })
})

describe.each(['control', 'exec'] as const)('every route of %s', (plane) => {
  test('is public, or is in the table', () => {
    const routes = routesOf(plane)
    expect(routes.length).toBeGreaterThan(5)
    for (const { title, permission } of routes)
      expect(permission === undefined || Object.hasOwn(PERMISSIONS, permission), title).toBe(true)
  })

  test('takes no call with a header that impersonates for an ordinary one', async () => {
    const authorization = await bearer(plane, a, { roles: ['admin'], scopes: [...PLANE_SCOPES[plane]] })
    for (const name of ['x-impersonate-operator', 'x-impersonate-write', 'x-impersonate-anything'])
      for (const { permission, title, path, method } of routesOf(plane)) {
        if (permission === undefined || method !== 'GET' || ENDLESS.has(title)) continue
        const headers = { authorization, [name]: newId() }
        const { statusCode, body } = await appOf(plane).inject({ method, url: urlOf(path), headers })
        expect(statusCode, `${name} ${title}: ${body}`).toBe(403)
        expect(body).toContain('Headers that impersonate somebody are not accepted here.')
      }
  })

  test('asks nobody in without a token', async () => {
    for (const route of guarded(plane)) expect((await ask(plane, route)).statusCode, route.title).toBe(401)
  })

  test.each(ROLES)('lets the role %s do what the table says, and nothing else', async (role) => {
    await walk(plane, await bearer(plane, a, { roles: [role] }), ({ roles }) => isAmong(roles, role))
  })

  test.each(ROLES)('shows the role %s of another workspace nothing of this one', async (role) => {
    const seesAll = Object.hasOwn(PLATFORM_ROLES, role)
    const mayEnter = ({ roles }: Permission) => isAmong(roles, role)
    await seesNothingOfA(plane, await bearer(plane, b, { roles: [role] }), { seesAll, mayEnter })
  })

  test('does not know the role of emergencies, whoever signed it', async () => {
    const signed = await bearer(plane, a, { roles: [EMERGENCY] })
    for (const authorization of [signed, emergency.inA])
      for (const route of guarded(plane))
        expect((await ask(plane, route, authorization)).statusCode, route.title).toBe(401)
  })

  test.each(PLANE_SCOPES[plane])('lets a machine with the scope %s do what the table says', async (scope) => {
    await walk(plane, await bearer(plane, a, { scopes: [scope] }), ({ scopes }) => isAmong(scopes, scope))
  })

  test.each(PLANE_SCOPES[plane])(
    'shows a machine with the scope %s nothing of another workspace',
    async (scope) => {
      const mayEnter = ({ scopes }: Permission) => isAmong(scopes, scope)
      await seesNothingOfA(plane, await bearer(plane, b, { scopes: [scope] }), { mayEnter })
    },
  )

  test.each(Object.keys(WORKSPACE_ROLES))('does not know the role %s without a workspace', async (role) => {
    const authorization = await bearer(plane, NO_WORKSPACE, {
      roles: [role],
      scopes: [...PLANE_SCOPES[plane]],
    })
    for (const route of guarded(plane))
      expect((await ask(plane, route, authorization)).statusCode, route.title).toBe(401)
  })

  test.each(PLANE_SCOPES[plane])('does not know a machine without a workspace: %s', async (scope) => {
    const authorization = await bearer(plane, NO_WORKSPACE, { scopes: [scope] })
    for (const route of guarded(plane))
      expect((await ask(plane, route, authorization)).statusCode, route.title).toBe(401)
  })

  test.each([...Object.keys(PLATFORM_ROLES), SIGNED_ON])(
    'lets the role %s without a workspace do what concerns none, whatever its scopes',
    async (role) => {
      for (const scopes of [[], [...PLANE_SCOPES[plane]]]) {
        const authorization = await bearer(plane, NO_WORKSPACE, { roles: [role], scopes })
        // The scope to read stays, for what is not in a workspace; what it shows is of no workspace, too.
        const reads = plane === 'control' && scopes.length > 0
        const mayEnter = (permission: Permission) =>
          isAmong(permission.roles, role) ||
          (reads && isAmong(permission.scopes, 'orchestrator.control.read') && !isOfWorkspace(permission))
        await walk(plane, authorization, mayEnter)
        const seesAll = PERMISSIONS['workspaces.read'].roles.some((one) => one === role)
        await seesNothingOfA(plane, authorization, { seesAll, mayEnter })
      }
    },
  )
})

describe('every route of the listener of emergencies', () => {
  const mayEnter = ({ roles }: Permission) => isAmong(roles, EMERGENCY)

  test('is public, or is in the table', () => {
    const [control, here] = [routesOf('control'), routesOf('break-glass')]
    expect(here.length).toBeGreaterThan(control.length / 2)
    for (const { title, permission } of here)
      expect(permission === undefined || Object.hasOwn(PERMISSIONS, permission), title).toBe(true)
  })

  test('asks nobody in without a token of an emergency', async () => {
    const tokens = [
      undefined,
      await bearer('control', a, { roles: [...ROLES], scopes: [...PLANE_SCOPES.control] }),
    ]
    for (const authorization of tokens)
      for (const route of guarded('break-glass'))
        expect((await ask('break-glass', route, authorization)).statusCode, route.title).toBe(401)
  })

  test('lets an emergency in a workspace do what the table says, and nothing else', async () => {
    await walk('break-glass', emergency.inA, mayEnter)
  })

  test('lets an emergency in no workspace do only what concerns none', async () => {
    await walk(
      'break-glass',
      emergency.inNone,
      (permission) => mayEnter(permission) && !isOfWorkspace(permission),
    )
  })

  test('shows an emergency in another workspace nothing of this one', async () => {
    await seesNothingOfA('break-glass', emergency.inB, { seesAll: true, mayEnter })
  })
})
