import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { manualClock } from '../../../testing/manual-clock.ts'
import { testEnvelope, testStores, usesUnseen } from '../../../testing/secret-stores.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { systemClock } from '../../platform/clock.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { newId } from '../../platform/ids.ts'
import { listAudit } from '../audit/audit.ts'
import { secretsControl } from './secrets.control.ts'
import {
  createSecretResolver,
  putSecretRef,
  type ReadRef,
  secretNames,
  type UsersOfSecret,
} from './secrets.ts'

const captured = capturedLog()
const envelope = testEnvelope()
const variables = new Map<string, string>()
let database: TestDatabase
let access: TenantAccess
let app: HttpServer
let folder: string
let readRef: ReadRef
let tenantId: string
let bearer: string
let foreign: string
let usersOfSecret: UsersOfSecret = async () => []

beforeAll(async () => {
  database = await testDatabase()
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-test-secrets-'))
  access = await tenantAccess(database, { log: captured.log })
  readRef = testStores({ db: database.db, variables, folder, envelope })
  app = await access.server()
  secretsControl(app, {
    db: database.db,
    directory: access.directory,
    clock: systemClock,
    readRef,
    usersOfSecret: (tx, target) => usersOfSecret(tx, target),
  })
  await app.ready()
})
afterAll(async () => {
  await access.close()
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

let made = 0
beforeEach(async () => {
  made += 1
  usersOfSecret = async () => []
  tenantId = (await access.workspace(`product-${made}-dev`)).id
  bearer = await access.bearer(tenantId)
  foreign = await access.bearer((await access.workspace(`other-${made}-dev`)).id)
})
const variable = (name: string) => `ORCH_SECRET__PRODUCT_${made}_DEV__${name}`

async function call(method: 'GET' | 'PUT' | 'DELETE', url: string, payload?: object, authorization = bearer) {
  const response = await app.inject({
    method,
    url,
    headers: {
      authorization,
      'x-request-id': 'same',
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    },
    ...(payload && { payload }),
  })
  return {
    status: response.statusCode,
    raw: response.body,
    body: response.body ? response.json() : undefined,
  }
}
const put = (name: string, ref: string, authorization = bearer) =>
  call('PUT', `/secret-refs/${name}`, { ref, reason: 'for a test' }, authorization)

describe('secret refs on the control plane', () => {
  it('are created, read, pointed elsewhere and deleted, each with its audit entry', async () => {
    const created = await put('stripe', 'env://STRIPE_KEY')
    expect(created).toMatchObject({ status: 201, body: { name: 'stripe', ref: 'env://STRIPE_KEY' } })
    expect((await put('stripe', 'file://stripe-key')).status).toBe(200)
    expect((await call('GET', '/secret-refs/stripe')).body).toMatchObject({ ref: 'file://stripe-key' })
    expect((await call('DELETE', '/secret-refs/stripe?reason=done')).status).toBe(204)
    expect((await call('GET', '/secret-refs/stripe')).status).toBe(404)
    const entries = await listAudit(database.db, { tenantId, object: 'secret_ref:stripe', limit: 10 })
    expect(entries.map(({ action, reason, diff }) => [action, reason, diff])).toEqual([
      ['secret_ref.deleted', 'done', [{ path: '/ref', before: 'file://stripe-key' }]],
      [
        'secret_ref.changed',
        'for a test',
        [{ path: '/ref', before: 'env://STRIPE_KEY', after: 'file://stripe-key' }],
      ],
      ['secret_ref.created', 'for a test', [{ path: '/ref', after: 'env://STRIPE_KEY' }]],
    ])
  })

  it('stay as they are, without an entry, when nothing changes', async () => {
    const { body } = await put('stripe', 'env://A')
    expect((await put('stripe', 'env://A')).body).toEqual(body)
    expect(await listAudit(database.db, { tenantId, object: 'secret_ref:stripe', limit: 10 })).toHaveLength(1)
  })

  it('do not change when the audit cannot be written', async () => {
    const target = { tenantId, name: 'unaudited', ref: 'env://A' }
    await expect(putSecretRef(database.db, target, { ...CHANGE, reason: '' })).rejects.toThrow()
    expect(await secretNames(database.db, tenantId)).toEqual(new Set())
  })

  it('have one creator when several create the same one at once', async () => {
    const statuses = await Promise.all([1, 2, 3, 4].map((n) => put('same', `env://KEY_${n}`)))
    expect(statuses.map(({ status }) => status).sort()).toEqual([200, 200, 200, 201])
    const entries = await listAudit(database.db, { tenantId, object: 'secret_ref:same', limit: 10 })
    expect(entries.filter(({ action }) => action === 'secret_ref.created')).toHaveLength(1)
  })

  it('are not deleted while something uses them', async () => {
    await put('stripe', 'env://A')
    usersOfSecret = async (_tx, target) => {
      expect(target).toEqual({ tenantId, name: 'stripe' })
      return ['connector:stripe']
    }
    const { status, body } = await call('DELETE', '/secret-refs/stripe?reason=x')
    expect([status, body.code, body.detail]).toEqual([
      409,
      'conflict',
      'The secret ref is used by connector:stripe.',
    ])
    expect((await call('GET', '/secret-refs/stripe')).status).toBe(200)
  })

  it('of another workspace look missing, byte for byte, and cannot be touched', async () => {
    await put('stripe', 'env://A')
    for (const [method, name] of [
      ['GET', ''],
      ['DELETE', '?reason=x'],
    ] as const) {
      const theirs = await call(method, `/secret-refs/stripe${name}`, undefined, foreign)
      const missing = await call(method, `/secret-refs/missing${name}`, undefined, foreign)
      expect(theirs.status).toBe(404)
      expect(theirs.raw).toBe(missing.raw)
    }
    expect((await put('stripe', 'env://B', foreign)).status).toBe(201)
    expect((await call('GET', '/secret-refs/stripe')).body.ref).toBe('env://A')
  })

  it('are listed by name, page by page', async () => {
    for (const name of ['c', 'a', 'b-1', 'b']) await put(name, 'env://A')
    await put('z', 'env://A', foreign)
    const first = (await call('GET', '/secret-refs?limit=3')).body
    const second = (await call('GET', `/secret-refs?limit=3&cursor=${first.next_cursor}`)).body
    const names = [...first.data, ...second.data].map(({ name }: { name: string }) => name)
    expect([names, second.next_cursor]).toEqual([['a', 'b', 'b-1', 'c'], null])
    expect(await secretNames(database.db, tenantId)).toEqual(new Set(names))
  })

  it.each<[string, string, object, string]>([
    ['a value', 'stripe', { ref: 'sk_live_CANARY51Hx' }, '/body/ref'],
    ['a value after a scheme', 'stripe', { ref: 'file://sk_live_CANARY51Hx' }, '/body/ref'],
    ['a value as a variable', 'stripe', { ref: 'env://canary-Value-1' }, '/body/ref'],
    ['a value in a field of its own', 'stripe', { ref: 'env://A', value: 'CANARY' }, '/body/value'],
    ['a path out of the folder', 'stripe', { ref: 'file://../CANARY' }, '/body/ref'],
    ['an unknown store', 'stripe', { ref: 'vaults://CANARY' }, '/body/ref'],
    ['a value as a path in Vault', 'stripe', { ref: 'vault://CANARY' }, '/body/ref'],
    ['a place in the store of another ref', 'stripe', { ref: 'store://canary' }, '/body/ref'],
    ['a number', 'stripe', { ref: 7 }, '/body/ref'],
    ['a bad name', 'Stripe_Key', { ref: 'env://A' }, '/path/name'],
    ['the name of an endpoint', 'health', { ref: 'env://A' }, '/path/name'],
  ])('refuse %s and keep nothing of it', async (_name, name, body, path) => {
    const before = captured.text().length
    const { status, body: problem, raw } = await call('PUT', `/secret-refs/${name}`, { reason: 'x', ...body })
    expect([status, problem.code, problem.details[0].path]).toEqual([400, 'validation_error', path])
    expect(raw + captured.text().slice(before)).not.toMatch(/canary/i)
    expect(await secretNames(database.db, tenantId)).toEqual(new Set())
    expect(await listAudit(database.db, { tenantId, limit: 10 })).toHaveLength(1)
  })

  it('need a reason and a scope', async () => {
    expect((await call('PUT', '/secret-refs/a', { ref: 'env://A' })).body.details[0].path).toBe(
      '/body/reason',
    )
    expect((await call('DELETE', '/secret-refs/a')).body.details[0].path).toBe('/query/reason')
    const reader = await access.bearer(tenantId, { scopes: ['orchestrator.control.read'] })
    expect((await put('a', 'env://A', reader)).status).toBe(403)
    expect((await call('DELETE', '/secret-refs/a?reason=x', undefined, reader)).status).toBe(403)
    expect((await call('GET', '/secret-refs', undefined, reader)).status).toBe(200)
  })
})

describe('the health of secret refs', () => {
  it('says for each whether it resolves and why not, and shows no value', async () => {
    variables.set(variable('GOOD'), 'CANARY-value')
    variables.set('ORCH_SECRET__SOMEBODY_ELSE_DEV__FOREIGN', 'CANARY-of-others')
    await put('good', 'env://GOOD')
    await put('missing', 'env://MISSING')
    await put('missing-file', 'file://nowhere')
    await put('not-ours', 'env://FOREIGN')
    const { body, raw } = await call('GET', '/secret-refs/health')
    const facts = { version: null, age_seconds: expect.any(Number) }
    expect(body.data).toEqual([
      { ...facts, name: 'good', ref: 'env://GOOD', resolves: true },
      {
        ...facts,
        name: 'missing',
        ref: 'env://MISSING',
        resolves: false,
        why: `the variable ${variable('MISSING')} is not set for this process`,
      },
      expect.objectContaining({ name: 'missing-file', resolves: false }),
      expect.objectContaining({ name: 'not-ours', resolves: false }),
    ])
    expect(raw).not.toMatch(/CANARY/)
    expect(raw).not.toContain(folder)
  })

  it('is paged like every list', async () => {
    for (const name of ['a', 'b']) await put(name, 'env://NONE')
    const { body } = await call('GET', '/secret-refs/health?limit=1')
    expect(body.data).toHaveLength(1)
    expect(body.next_cursor).not.toBeNull()
  })
})

describe('the resolver', () => {
  const clock = manualClock()
  const resolver = () =>
    createSecretResolver({
      db: database.db,
      directory: access.directory,
      readRef,
      clock,
      lastUsed: usesUnseen,
      ttlMs: 3_000,
    })

  it('gives the value of the own workspace only', async () => {
    await put('key', 'env://KEY')
    variables.set(variable('KEY'), 'mine')
    const resolve = resolver()
    expect((await resolve(tenantId, 'key')).reveal()).toBe('mine')
    const stranger = (await access.workspace(`stranger-${made}-dev`)).id
    await expect(resolve(stranger, 'key')).rejects.toMatchObject({ code: 'secret_unresolved' })
  })

  it('remembers a value for some seconds and then sees the new one', async () => {
    await put('key', 'env://KEY')
    variables.set(variable('KEY'), 'old')
    const resolve = resolver()
    await resolve(tenantId, 'key')
    variables.set(variable('KEY'), 'new')
    await clock.advance(2_999)
    expect((await resolve(tenantId, 'key')).reveal()).toBe('old')
    await clock.advance(1)
    expect((await resolve(tenantId, 'key')).reveal()).toBe('new')
  })

  it('does not remember that there was none', async () => {
    const resolve = resolver()
    await expect(resolve(tenantId, 'late')).rejects.toMatchObject({
      code: 'secret_unresolved',
      message: 'There is no secret ref named late in this workspace.',
    })
    await put('late', 'env://LATE')
    await expect(resolve(tenantId, 'late')).rejects.toMatchObject({
      code: 'secret_unresolved',
      message: `The secret ref late (env://LATE) does not resolve: the variable ${variable('LATE')} is not set for this process.`,
    })
    variables.set(variable('LATE'), 'here now')
    expect((await resolve(tenantId, 'late')).reveal()).toBe('here now')
  })

  it('asks the database once for calls at the same moment', async () => {
    await put('key', 'env://KEY')
    variables.set(variable('KEY'), 'v')
    let reads = 0
    const db: Pick<TestDatabase['db'], 'execute'> = {
      execute: (statement, values) => {
        reads += 1
        return database.db.execute(statement, values)
      },
    }
    const resolve = createSecretResolver({
      db,
      directory: access.directory,
      readRef,
      clock,
      lastUsed: usesUnseen,
    })
    await Promise.all(Array.from({ length: 20 }, () => resolve(tenantId, 'key')))
    expect(reads).toBe(1)
  })

  it('does not know a workspace that does not exist', async () => {
    await expect(resolver()(newId(), 'key')).rejects.toMatchObject({ code: 'secret_unresolved' })
  })
})
