/**
 * Every route of both planes × every role × {own workspace, another workspace, nobody}, made from the published
 * documents and the permission table: a route that is not in the table, a guard that does not hold what the table
 * says, and an answer that shows something of another workspace each fail it.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../testing/database.ts'
import { CHANGE } from '../../testing/tenant-access.ts'
import { loadConfig } from '../config.ts'
import { PLANE_SCOPES, type Plane } from '../features/identities/identities.ts'
import {
  EMERGENCY,
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
const ROLES = [...Object.keys(WORKSPACE_ROLES), ...Object.keys(PLATFORM_ROLES), SIGNED_ON]
/** Answers that do not end; who may not is answered at once. */
const ENDLESS = new Set(['GET /events/stream'])

interface Route {
  readonly title: string
  readonly method: string
  readonly path: string
  /** Undefined = public. */
  readonly permission: PermissionName | undefined
}

let database: TestDatabase
let folder: string
let log: ReturnType<typeof createLog>
const built = new Map<Plane, BuiltProcess>()
const cleanUps: (() => unknown)[] = []
/** Path parameters that name what A has. */
const ofA = new Map<string, string>()
let a: string
let b: string
let bearer: (
  plane: Plane,
  tenantId: string,
  grant: { roles?: string[]; scopes?: string[] },
) => Promise<string>

beforeAll(async () => {
  database = await testDatabase()
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-roles-'))
  log = createLog('role-matrix', 'silent')
  const config = loadConfig({ DATA_DIR: folder, DATABASE_URL: database.url })
  const environment = { config, databaseUrl: database.url, log, sharedStore: memoryNodeStore() }
  for (const plane of ['control', 'exec'] as const) {
    const one = await BUILDERS[plane](environment)
    await one.app.ready()
    built.set(plane, one)
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
  await furnish(await bearer('control', a, { roles: ['admin'] }))
})
afterAll(async () => {
  for (const cleanUp of cleanUps) cleanUp()
  for (const { app, stopSteps } of built.values())
    await stopInOrder(log, 5_000, [['server', () => app.close()], ...stopSteps])
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

/** Things of A whose names say so. */
async function furnish(authorization: string): Promise<void> {
  const reason = 'a test'
  const send = async (method: 'PUT' | 'POST', url: string, payload: object) => {
    const answer = await appOf('control').inject({
      method,
      url,
      payload: { ...payload, reason },
      headers: { authorization },
    })
    expect(answer.statusCode, `${method} ${url}: ${answer.body}`).toBeLessThan(300)
    return answer.json()
  }
  await send('PUT', `/policies/${MARK}`, { policy: { timeouts: { total_ms: 5_000 } } })
  await send('PUT', `/connectors/${MARK}`, {
    connector: {
      kind: 'http',
      policy: MARK,
      settings: { base_url: 'https://example.com', operations: { get: { method: 'GET', path: '/' } } },
    },
  })
  await send('PUT', `/secret-refs/${MARK}`, { ref: `file://${MARK}` })
  const identity = await send('POST', '/identities', {
    name: `svc:${MARK}`,
    scopes: ['orchestrator.execute'],
  })
  ofA.set('/identities', identity.id).set('/workspaces', a)
  ofA.set('/policies', MARK).set('/connectors', MARK).set('/secret-refs', MARK).set('/configs', '2')
}

function appOf(plane: Plane): BuiltProcess['app'] {
  const one = built.get(plane)
  if (!one) throw new Error(`the ${plane} process is not built`)
  return one.app
}

function routesOf(plane: Plane): Route[] {
  const document = appOf(plane).swagger() as unknown as {
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

/** With the names of A where a path asks for one that A has, and names of nothing elsewhere. */
const urlOf = (path: string): string =>
  path.replaceAll(/\{(\w+)\}/g, (_all, parameter: string) => {
    const own = [...ofA].find(([prefix]) => path.startsWith(`${prefix}/{`))?.[1]
    if (own !== undefined) return own
    if (parameter === 'queue') return 'default'
    return /version/.test(parameter) ? '1' : /id$/.test(parameter) ? newId() : 'nothing'
  })

const ask = async (plane: Plane, { method, path }: Route, authorization?: string) =>
  appOf(plane).inject({
    method: method as 'GET',
    url: urlOf(path),
    headers: authorization === undefined ? {} : { authorization },
    // Let in or not is decided before the body is read, and an empty one changes nothing.
    ...(method !== 'GET' && method !== 'DELETE' && { payload: {} }),
  })

describe.each(['control', 'exec'] as const)('every route of %s', (plane) => {
  test('is public, or is in the table', () => {
    const routes = routesOf(plane)
    expect(routes.length).toBeGreaterThan(5)
    for (const { title, permission } of routes)
      expect(permission === undefined || Object.hasOwn(PERMISSIONS, permission), title).toBe(true)
  })

  test('asks nobody in without a token', async () => {
    for (const route of routesOf(plane).filter(({ permission }) => permission !== undefined))
      expect((await ask(plane, route)).statusCode, route.title).toBe(401)
  })

  test.each(ROLES)('lets the role %s do what the table says, and nothing else', async (role) => {
    const own = await bearer(plane, a, { roles: [role] })
    for (const route of routesOf(plane)) {
      if (route.permission === undefined) continue
      const { roles }: Permission = PERMISSIONS[route.permission]
      const mayEnter = (roles as readonly string[]).includes(role)
      if (mayEnter && ENDLESS.has(route.title)) continue
      const { statusCode, body } = await ask(plane, route, own)
      if (mayEnter) {
        // What is decided behind the guard (a session that is needed, say) has a code of its own.
        expect(statusCode, `${role} ${route.title}: ${body}`).not.toBe(403)
        expect(statusCode, `${role} ${route.title}: ${body}`).toBeLessThan(500)
      } else expect([statusCode, JSON.parse(body).code], `${role} ${route.title}`).toEqual([403, 'forbidden'])
    }
  })

  test.each(ROLES)('shows the role %s of another workspace nothing of this one', async (role) => {
    const foreign = await bearer(plane, b, { roles: [role] })
    const seesAll = role.startsWith('platform_')
    for (const route of routesOf(plane)) {
      if (route.permission === undefined || ENDLESS.has(route.title)) continue
      const { statusCode, body } = await ask(plane, route, foreign)
      expect(body, `${role} ${route.title}`).not.toContain(MARK)
      const namesSomething = [...ofA.keys()].some((prefix) => route.path.startsWith(`${prefix}/{`))
      if (namesSomething && !seesAll) expect(statusCode, `${role} ${route.title}`).toBeGreaterThanOrEqual(400)
    }
  })

  test('does not know the role of emergencies, whoever signed it', async () => {
    const emergency = await bearer(plane, a, { roles: [EMERGENCY] })
    for (const route of routesOf(plane).filter(({ permission }) => permission !== undefined))
      expect((await ask(plane, route, emergency)).statusCode, route.title).toBe(401)
  })

  test.each(PLANE_SCOPES[plane])('lets a machine with the scope %s do what the table says', async (scope) => {
    const machine = await bearer(plane, a, { scopes: [scope] })
    for (const route of routesOf(plane)) {
      if (route.permission === undefined) continue
      const mayEnter = (PERMISSIONS[route.permission].scopes as readonly string[]).includes(scope)
      if (mayEnter && ENDLESS.has(route.title)) continue
      const { statusCode, body } = await ask(plane, route, machine)
      if (mayEnter) expect(statusCode, `${route.title}: ${body}`).not.toBe(403)
      else expect([statusCode, JSON.parse(body).code], route.title).toEqual([403, 'forbidden'])
    }
  })
})
