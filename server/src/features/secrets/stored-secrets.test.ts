import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it, vi } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { testStores } from '../../../testing/secret-stores.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { systemClock } from '../../platform/clock.ts'
import { envKeys } from '../../platform/envelope/env-keys.ts'
import { type FileKeys, fileKeys } from '../../platform/envelope/file-keys.ts'
import { parseSealed } from '../../platform/envelope/sealed.ts'
import { type Envelope, openEnvelope } from '../../platform/envelope.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { listAudit } from '../audit/audit.ts'
import { secretsControl } from './secrets.control.ts'
import {
  checkStoredSecrets,
  createLastUsed,
  createSecretResolver,
  type LastUsed,
  type ResolveSecret,
  rewrapStoredSecrets,
} from './secrets.ts'
import { storedSecretsControl } from './stored-secrets.control.ts'

const captured = capturedLog()
const variables = new Map<string, string>()
let database: TestDatabase
let access: TenantAccess
let app: HttpServer
let folder: string
let keys: FileKeys
let envelope: Envelope
let lastUsed: LastUsed
let resolve: ResolveSecret
let tenantId: string
let slug: string
let bearer: string
let otherId: string
let foreign: string

const resolverOn = (opens: Envelope): ResolveSecret =>
  createSecretResolver({
    db: database.db,
    directory: access.directory,
    clock: systemClock,
    readRef: testStores({ db: database.db, envelope: opens, variables }),
    lastUsed,
    ttlMs: 0,
  })

beforeAll(async () => {
  database = await testDatabase()
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-test-stored-'))
  access = await tenantAccess(database, { log: captured.log })
  keys = fileKeys({ folder, clock: systemClock, log: captured.log })
  envelope = openEnvelope({ keys })
  lastUsed = createLastUsed({ db: database.db, clock: systemClock, log: captured.log })
  resolve = resolverOn(envelope)
  app = await access.server()
  const { db } = database
  const readRef = testStores({ db, envelope, variables })
  secretsControl(app, {
    db,
    directory: access.directory,
    clock: systemClock,
    readRef,
    usersOfSecret: async () => ['connector:stripe'],
  })
  storedSecretsControl(app, { db, clock: systemClock, envelope })
  await app.ready()
})
afterAll(async () => {
  await lastUsed.close()
  await access.close()
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

let made = 0
beforeEach(async () => {
  made += 1
  slug = `kept-${made}-dev`
  tenantId = (await access.workspace(slug)).id
  otherId = (await access.workspace(`other-${made}-dev`)).id
  bearer = await access.bearer(tenantId)
  foreign = await access.bearer(otherId)
})

type Method = 'GET' | 'PUT' | 'POST' | 'DELETE'
async function call(method: Method, url: string, payload?: object, authorization = bearer) {
  const response = await app.inject({ method, url, headers: { authorization }, ...(payload && { payload }) })
  return {
    status: response.statusCode,
    raw: response.body,
    body: response.body ? response.json() : undefined,
  }
}
const put = (name: string, value: unknown, more: object = {}, authorization = bearer) =>
  call('PUT', `/secret-refs/${name}/value`, { value, reason: 'for a test', ...more }, authorization)
const point = (name: string, ref: string, more: object = {}) =>
  call('PUT', `/secret-refs/${name}`, { ref, reason: 'for a test', ...more })
const revert = (name: string, more: object = {}) =>
  call('POST', `/secret-refs/${name}/revert`, { reason: 'it was wrong', ...more })
const inForce = async (name: string) => (await resolve(tenantId, name)).inForce().map((one) => one.reveal())
const query = async (text: string, values: readonly unknown[] = []) =>
  (await database.db.execute<Record<string, unknown>>({ name: '', text }, values)).rows

/** Somebody who may do everything to the database: nothing but the envelope can stop him. */
async function asSuperuser(text: string, values: readonly unknown[]): Promise<void> {
  const url = new URL(inject('postgres').adminUrl)
  url.pathname = new URL(database.url).pathname
  const admin = new Client({ connectionString: url.href })
  await admin.connect()
  try {
    await admin.query(text, [...values])
  } finally {
    await admin.end()
  }
}

describe('a value that the hub keeps', () => {
  it('is put, resolved and rotated, and only its version, age and last four are shown', async () => {
    const first = await put('stripe', 'sk_test_CANARY_0123456789')
    expect(first).toMatchObject({
      status: 201,
      body: { ref: 'store://stripe', version: 1, last_four: '6789', age_seconds: 0, previous: null },
    })
    expect(await inForce('stripe')).toEqual(['sk_test_CANARY_0123456789'])
    const second = await put('stripe', 'short')
    expect(second).toMatchObject({ status: 200, body: { version: 2, last_four: null } })
    expect(await inForce('stripe')).toEqual(['short'])
    const one = await call('GET', '/secret-refs/stripe')
    expect(one.body).toMatchObject({ version: 2, used_by: ['connector:stripe'] })
    const versions = await call('GET', '/secret-refs/stripe/versions?limit=1')
    expect(versions.body.data).toMatchObject([
      { version: 2, state: 'active', created_by: expect.any(String) },
    ])
    const older = await call('GET', `/secret-refs/stripe/versions?cursor=${versions.body.next_cursor}`)
    expect(older.body).toMatchObject({ data: [{ version: 1, state: 'replaced' }], next_cursor: null })
    const health = await call('GET', '/secret-refs/health')
    expect(health.body.data).toMatchObject([{ name: 'stripe', resolves: true, version: 2 }])
    const seen = [first, second, one, versions, older, health].map(({ raw }) => raw).join()
    expect(seen).not.toMatch(/CANARY|short"/)
  })

  it('is nowhere in the log, the audit, the events and the rows as anything that can be read', async () => {
    const before = captured.text().length
    const value = `CANARY-${randomBytes(12).toString('hex')}`
    await put('a', value)
    await put('a', `${value}2`, { overlap_seconds: 60 })
    await put('a', value, { reason: '' })
    await put('a', value, { stray: 1 })
    await call('PUT', '/secret-refs/a', { ref: value, reason: 'x' })
    await call('POST', '/secret-refs/a/revert', { value, reason: 'x' })
    const rows = await query(
      `select row_to_json(r)::text as text from secret_ref r union all
       select row_to_json(v)::text from secret_value v union all
       select encode(sealed, 'escape') from secret_value union all
       select row_to_json(a)::text from audit_entry a union all select row_to_json(e)::text from event e`,
    )
    expect(captured.text().slice(before) + JSON.stringify(rows)).not.toContain(value.slice(0, -4))
    const [entry] = await listAudit(database.db, { tenantId, object: 'secret_ref:a', limit: 1 })
    expect(entry).toMatchObject({
      action: 'secret.rotated',
      diff: [
        { path: '/version', before: 1, after: 2 },
        { path: '/accepted_until', after: expect.any(String) },
      ],
    })
  })

  it.each<[string, unknown, string]>([
    ['nothing', '', '/body/value'],
    ['a number', 4_242_424, '/body/value'],
    ['more than 64 KiB', 'ä'.repeat(40_000), '/body/value'],
    ['a ref', 'env://CANARY', '/body/value'],
  ])('cannot be %s, and the refusal repeats nothing', async (_name, value, path) => {
    const { status, body, raw } = await put('bad', value)
    expect([status, body.code, body.details?.[0].path]).toEqual([400, 'validation_error', path])
    expect(raw).not.toMatch(/CANARY|4242424|ää/)
    expect((await call('GET', '/secret-refs/bad')).status).toBe(404)
  })

  it('of another workspace looks missing and is not touched', async () => {
    await put('stripe', 'mine')
    for (const [method, path, body] of [
      ['POST', 'revert', { reason: 'x' }],
      ['GET', 'versions', undefined],
      ['DELETE', 'versions/1?reason=x', undefined],
    ] as const) {
      const theirs = await call(method, `/secret-refs/stripe/${path}`, body, foreign)
      expect(theirs.status).toBe(404)
    }
    expect((await put('stripe', 'theirs', {}, foreign)).body.version).toBe(1)
    expect(await inForce('stripe')).toEqual(['mine'])
  })

  it('needs the scope to write', async () => {
    const reader = await access.bearer(tenantId, { scopes: ['orchestrator.control.read'] })
    expect((await put('a', 'v', {}, reader)).status).toBe(403)
    expect((await call('POST', '/secret-refs/a/revert', { reason: 'x' }, reader)).status).toBe(403)
    expect((await call('DELETE', '/secret-refs/a/versions/1?reason=x', undefined, reader)).status).toBe(403)
  })

  it('gives every one of several at once a version of its own', async () => {
    await Promise.all([1, 2, 3, 4].map((n) => put('same', `value-${n}`)))
    const { body } = await call('GET', '/secret-refs/same/versions')
    expect(
      body.data.map(({ version, state }: { version: number; state: string }) => [version, state]),
    ).toEqual([
      [4, 'active'],
      [3, 'replaced'],
      [2, 'replaced'],
      [1, 'replaced'],
    ])
  })

  it('goes with its ref, and an old version alone; the active one stays', async () => {
    await put('a', 'one')
    await put('a', 'two')
    expect((await call('DELETE', '/secret-refs/a/versions/2?reason=x')).body.code).toBe('conflict')
    expect((await call('DELETE', '/secret-refs/a/versions/1?reason=x')).status).toBe(204)
    expect((await call('DELETE', '/secret-refs/a/versions/1?reason=x')).status).toBe(404)
    expect((await revert('a')).body.code).toBe('conflict')
    expect((await put('a', 'three')).body.version).toBe(3)
    await query('delete from secret_ref where tenant_id = $1', [tenantId])
    expect(await query('select 1 from secret_value where tenant_id = $1', [tenantId])).toEqual([])
  })

  it('does not open when its row is moved to another workspace, name or version', async () => {
    const notAuthentic = {
      code: 'secret_unresolved',
      message: expect.stringMatching(/was changed, or belongs/),
    }
    const swap = `update secret_value a set sealed = b.sealed from secret_value b
      where a.tenant_id = $1 and a.name = $2 and a.version = $3
        and b.tenant_id = $4 and b.name = $5 and b.version = $6`
    await put('a', 'of a')
    await put('b', 'of b')
    await put('a', 'theirs', {}, foreign)
    await put('v', 'first')
    await put('v', 'second')
    for (const [name, version, from] of [
      ['a', 1, [otherId, 'a', 1]],
      ['b', 1, [tenantId, 'a', 1]],
      ['v', 2, [tenantId, 'v', 1]],
    ] as const) {
      await asSuperuser(swap, [tenantId, name, version, ...from])
      await expect(resolve(tenantId, name)).rejects.toMatchObject(notAuthentic)
    }
    // Renumbered, so that the old version stands where the active one stood.
    await put('r', 'old')
    await put('r', 'new')
    await asSuperuser('delete from secret_value where tenant_id = $1 and name = $2 and version = 2', [
      tenantId,
      'r',
    ])
    await asSuperuser(
      `update secret_value set version = 2, state = 'active', replaced_at = null
       where tenant_id = $1 and name = $2`,
      [tenantId, 'r'],
    )
    await expect(resolve(tenantId, 'r')).rejects.toMatchObject(notAuthentic)
    await query('delete from secret_ref where tenant_id = $1', [tenantId])
  })
})

describe('a rotation', () => {
  it('accepts the value before until the end of its overlap, and is taken back in one step', async () => {
    await put('hook', 'old')
    await put('hook', 'new', { overlap_seconds: 600 })
    expect(await inForce('hook')).toEqual(['new', 'old'])
    await query(`update secret_value set accepted_until = now() where tenant_id = $1 and version = 1`, [
      tenantId,
    ])
    expect(await inForce('hook')).toEqual(['new'])
    expect((await revert('hook', { overlap_seconds: 600 })).body).toMatchObject({ version: 1 })
    expect(await inForce('hook')).toEqual(['old', 'new'])
    expect((await revert('hook')).body).toMatchObject({ version: 2 })
    expect(await inForce('hook')).toEqual(['new'])
    const entries = await listAudit(database.db, { tenantId, object: 'secret_ref:hook', limit: 2 })
    expect(entries.map(({ action, diff }) => [action, diff[0]])).toEqual([
      ['secret.reverted', { path: '/version', before: 1, after: 2 }],
      ['secret.reverted', { path: '/version', before: 2, after: 1 }],
    ])
  })

  it('is the same for refs that lead elsewhere', async () => {
    const prefix = `ORCH_SECRET__${slug.toUpperCase().replaceAll('-', '_')}__`
    variables.set(`${prefix}OLD`, 'old')
    variables.set(`${prefix}NEW`, 'new')
    await point('hook', 'env://OLD')
    const { body } = await point('hook', 'env://NEW', { overlap_seconds: 600 })
    expect(body.previous).toEqual({ ref: 'env://OLD', accepted_until: expect.any(String) })
    expect(await inForce('hook')).toEqual(['new', 'old'])
    variables.delete(`${prefix}OLD`)
    expect(await inForce('hook')).toEqual(['new'])
    variables.set(`${prefix}OLD`, 'old')
    expect((await revert('hook')).body).toMatchObject({ ref: 'env://OLD', previous: null })
    expect(await inForce('hook')).toEqual(['old'])
  })

  it('leads from a place elsewhere into the store and back', async () => {
    variables.set(`ORCH_SECRET__${slug.toUpperCase().replaceAll('-', '_')}__OUT`, 'outside')
    await point('hook', 'env://OUT')
    await put('hook', 'inside', { overlap_seconds: 600 })
    expect(await inForce('hook')).toEqual(['inside', 'outside'])
    expect((await revert('hook')).body).toMatchObject({ ref: 'env://OUT', version: null })
    expect(await inForce('hook')).toEqual(['outside'])
    // What stood in the store meanwhile was never replaced there: it must not be accepted beside the next one.
    await put('hook', 'inside again', { overlap_seconds: 600 })
    expect(await inForce('hook')).toEqual(['inside again', 'outside'])
  })

  it('of what was never rotated cannot be taken back', async () => {
    await put('a', 'v')
    expect((await revert('a')).body.code).toBe('conflict')
    expect((await revert('nothing')).status).toBe(404)
  })
})

describe('the last use', () => {
  it('is shown to the minute and written once for many uses', async () => {
    await put('used', 'v')
    expect((await call('GET', '/secret-refs/used')).body.last_used_at).toBeNull()
    for (let n = 0; n < 20; n += 1) await resolve(tenantId, 'used')
    await vi.waitFor(async () => {
      const at = (await call('GET', '/secret-refs/used')).body.last_used_at
      expect(String(at)).toMatch(/:00\.000Z$/)
    }, 20_000)
    const [row] = await query(
      'select updated_at = created_at as untouched from secret_ref where tenant_id = $1',
      [tenantId],
    )
    expect(row?.untouched).toBe(true)
  })
})

describe('the key-encryption key', () => {
  it('is rotated while values are resolved: none fails, and no ciphertext changes', async () => {
    const names = Array.from({ length: 30 }, (_, n) => `many-${n}`)
    await Promise.all(names.map((name) => put(name, `value of ${name}`)))
    const sealedOf = async () =>
      (
        await query('select name, sealed from secret_value where tenant_id = $1 order by name', [tenantId])
      ).map(({ sealed }) => parseSealed(sealed as Buffer))
    const before = await sealedOf()
    // Another process, which hears of the new key only by meeting it.
    const elsewhere = resolverOn(
      openEnvelope({ keys: fileKeys({ folder, clock: systemClock, log: captured.log }) }),
    )
    let rotating = true
    let resolved = 0
    const load = async (with_: ResolveSecret) => {
      while (rotating)
        for (const name of names) {
          expect((await with_(tenantId, name)).reveal()).toBe(`value of ${name}`)
          resolved += 1
        }
    }
    const running = Promise.all([load(resolve), load(elsewhere)])
    for (let n = 0; n < 3; n += 1) {
      await keys.rotate()
      expect(await rewrapStoredSecrets(database.db, envelope)).toMatchObject({ broken: [], left: 0 })
    }
    rotating = false
    await running
    expect(resolved).toBeGreaterThan(0)
    const after = await sealedOf()
    expect(after.map(({ encrypted }) => encrypted)).toEqual(before.map(({ encrypted }) => encrypted))
    expect(new Set(after.map(({ keyId }) => keyId))).toEqual(new Set([keys.current()]))
    await keys.forgetOthers()
    expect((await resolve(tenantId, 'many-0')).reveal()).toBe('value of many-0')
  })

  it('that is missing is named, and nothing resolves to something else; a broken value does not stop the others', async () => {
    await put('a', 'kept')
    const without = openEnvelope({ keys: envKeys({ current: undefined, previous: [], where: 'KEK' }) })
    await expect(resolverOn(without)(tenantId, 'a')).rejects.toMatchObject({
      code: 'secret_unresolved',
      message: expect.stringMatching(/store:\/\/a.*key-encryption key [0-9a-f]+ is missing \(KEK\)/),
    })
    await expect(checkStoredSecrets(database.db, without)).rejects.toThrow('key-encryption key')
    await expect(rewrapStoredSecrets(database.db, without)).rejects.toThrow('key-encryption key')
    await expect(checkStoredSecrets(database.db, envelope)).resolves.toBeUndefined()
    const bare = await access.server()
    storedSecretsControl(bare, { db: database.db, clock: systemClock, envelope: without })
    const refused = await bare.inject({
      method: 'PUT',
      url: '/secret-refs/new/value',
      headers: { authorization: bearer },
      payload: { value: 'CANARY', reason: 'x' },
    })
    expect([refused.statusCode, refused.json().code]).toEqual([503, 'secrets_unavailable'])
    expect((await call('GET', '/secret-refs/new')).status).toBe(404)
    await put('b', 'also kept')
    await asSuperuser(
      `update secret_value set sealed = set_byte(sealed, length(sealed) - 1, (get_byte(sealed, length(sealed) - 1) + 1) % 256)
       where tenant_id = $1 and name = 'a'`,
      [tenantId],
    )
    await keys.rotate()
    const { broken, left } = await rewrapStoredSecrets(database.db, envelope)
    expect([broken.length, left]).toEqual([1, 1])
    expect(broken[0]).toContain('a version 1')
    expect(await inForce('b')).toEqual(['also kept'])
  })
})
