import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { newId } from '../../platform/ids.ts'
import { auditControl } from './audit.control.ts'
import { listAudit, recordAudit, verifyChain } from './audit.ts'

let database: TestDatabase
let access: TenantAccess
let app: HttpServer
let workspaceId: string

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  app = await access.server()
  auditControl(app, { db: database.db })
  await app.ready()
  workspaceId = (await access.workspace('audit-dev')).id
})
afterAll(async () => {
  await access.close()
  await database.drop()
})

const record = (tenantId: string, object: string, diff: { path: string; after: unknown }[] = []) =>
  database.db.transaction((tx) =>
    recordAudit(tx, { ...CHANGE, tenantId, action: 'thing.changed', object, diff }),
  )

async function chainOf(length: number): Promise<string> {
  const tenantId = newId()
  for (let entry = 1; entry <= length; entry += 1)
    await record(tenantId, `thing:${entry}`, [{ path: '/n', after: entry }])
  return tenantId
}

/** What an attacker with rights on the tables does; the trigger is off for this transaction alone. */
const tamper = (text: string, values: unknown[]) =>
  database.db.transaction(async (tx) => {
    await tx.execute(
      { name: 't1', text: 'alter table audit_entry disable trigger audit_entry_is_immutable' },
      [],
    )
    await tx.execute({ name: `t-${newId()}`, text }, values)
    await tx.execute(
      { name: 't2', text: 'alter table audit_entry enable trigger audit_entry_is_immutable' },
      [],
    )
  })

describe('the chain of a workspace', () => {
  it('is intact when empty and after entries with every kind of content', async () => {
    const tenantId = newId()
    expect(await verifyChain(database.db, tenantId)).toEqual({
      intact: true,
      entries: 0,
      head: '0'.repeat(64),
    })
    const awkward = {
      '10': 1,
      '9': 2,
      ä: 'ü\u2028"\\',
      nul: 'a\u0000b',
      half: '\ud800',
      big: 1e300,
      small: -0,
      fraction: 0.1,
      none: undefined,
      at: new Date(0),
      list: [undefined, [], {}],
    }
    await record(tenantId, 'thing:\ud800', [{ path: '', after: awkward }])
    await record(tenantId, 'thing:2')
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true, entries: 2 })
  })

  it('numbers concurrent entries without gap or fork', async () => {
    const tenantId = newId()
    await Promise.all(Array.from({ length: 25 }, (_, n) => record(tenantId, `thing:${n}`)))
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true, entries: 25 })
    const entries = await listAudit(database.db, { tenantId, limit: 100 })
    expect(entries.map(({ seq }) => seq)).toEqual(Array.from({ length: 25 }, (_, n) => 25 - n))
    const times = entries.map(({ at }) => at.getTime())
    expect(times).toEqual(times.toSorted((left, right) => right - left))
  })

  it('leaves no gap when a change rolls back', async () => {
    const tenantId = await chainOf(1)
    await expect(
      database.db.transaction(async (tx) => {
        await recordAudit(tx, { ...CHANGE, tenantId, action: 'thing.changed', object: 'thing:x' })
        throw new Error('the change failed')
      }),
    ).rejects.toThrow('the change failed')
    await record(tenantId, 'thing:2')
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true, entries: 2 })
  })

  it('spans more than one page of verification', async () => {
    const tenantId = newId()
    await database.db.transaction(async (tx) => {
      for (let entry = 0; entry < 1_001; entry += 1)
        await recordAudit(tx, { ...CHANGE, tenantId, action: 'thing.changed', object: 'thing:1' })
    })
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true, entries: 1_001 })
  })

  it('refuses to change entries in the ordinary way', async () => {
    const tenantId = await chainOf(1)
    for (const text of [
      'update audit_entry set actor = $2 where tenant_id = $1',
      'delete from audit_entry where tenant_id = $1 and actor <> $2',
    ])
      await expect(
        database.db.execute({ name: text.slice(0, 30), text }, [tenantId, 'svc:other']),
      ).rejects.toThrow('immutable')
  })

  it.each<[string, number, string]>([
    ['an edited reason', 2, `update audit_entry set reason = 'x' where tenant_id = $1 and seq = 2`],
    [
      'an edited actor of the first',
      1,
      `update audit_entry set actor = 'x' where tenant_id = $1 and seq = 1`,
    ],
    ['an edited diff', 3, `update audit_entry set diff = '[]' where tenant_id = $1 and seq = 3`],
    [
      'a time moved by a millisecond',
      2,
      `update audit_entry set at = at + interval '1 ms' where tenant_id = $1 and seq = 2`,
    ],
    ['a deleted entry', 2, 'delete from audit_entry where tenant_id = $1 and seq = 2'],
    ['the first deleted', 1, 'delete from audit_entry where tenant_id = $1 and seq = 1'],
    ['the tail cut', 3, 'delete from audit_entry where tenant_id = $1 and seq >= 3'],
    ['everything deleted', 1, 'delete from audit_entry where tenant_id = $1'],
    [
      'an entry moved to another number',
      2,
      'update audit_entry set seq = case seq when 2 then -3 else seq end where tenant_id = $1',
    ],
    [
      'the head set back',
      4,
      'update audit_head set seq = 3, hash = (select hash from audit_entry e where e.tenant_id = $1 and e.seq = 3) where tenant_id = $1',
    ],
    ['the head removed', 1, 'delete from audit_head where tenant_id = $1'],
    ['a hash replaced', 4, `update audit_entry set hash = sha256('x') where tenant_id = $1 and seq = 4`],
  ])('shows %s at entry %i', async (_name, seq, text) => {
    const tenantId = await chainOf(4)
    await tamper(text, [tenantId])
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: false, seq })
  })
})

describe('GET /audit', () => {
  const get = async (url: string, authorization: string) => {
    const response = await app.inject({ url, headers: { authorization } })
    return { status: response.statusCode, body: response.json() }
  }

  it('gives the entries of the own workspace, newest first, page by page', async () => {
    const mine = await access.workspace('audit-mine-dev')
    const other = await access.workspace('audit-other-dev')
    for (const n of [2, 3, 4, 5]) await record(mine.id, `thing:${n}`, [{ path: '/n', after: n }])
    await record(other.id, 'thing:secret')
    const authorization = await access.bearer(mine.id)
    const seen: number[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const { status, body } = await get(`/audit?limit=2${cursor && `&cursor=${cursor}`}`, authorization)
      expect(status).toBe(200)
      for (const entry of body.data) {
        seen.push(entry.seq)
        expect(entry.object).not.toBe('thing:secret')
      }
      cursor = body.next_cursor
    }
    expect(seen).toEqual([5, 4, 3, 2, 1])
  })

  it('filters and shows what was changed, by whom, why and in which request', async () => {
    await record(workspaceId, 'thing:7', [{ path: '/n', after: 7 }])
    const { body } = await get(
      `/audit?object=thing:7&actor=svc:test&action=thing.changed`,
      await access.bearer(workspaceId),
    )
    expect(body.data).toEqual([
      {
        seq: 2,
        at: expect.stringMatching(/Z$/),
        actor: CHANGE.actor,
        action: 'thing.changed',
        object: 'thing:7',
        reason: CHANGE.reason,
        diff: [{ path: '/n', after: 7 }],
        request_id: CHANGE.call.requestId,
        trace_id: CHANGE.call.traceId,
        hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    ])
  })

  it.each(['/audit?cursor=x', '/audit?cursor=WyJhIl0', '/audit?limit=0', '/audit?foo=1'])(
    'refuses %s with a named field',
    async (url) => {
      const { status, body } = await get(url, await access.bearer(workspaceId))
      expect([status, body.code, body.details?.length]).toEqual([400, 'validation_error', 1])
    },
  )

  it('verifies the chain on request', async () => {
    const { body } = await get('/audit/verify', await access.bearer(workspaceId))
    expect(body).toEqual({ intact: true, entries: 2, head: expect.stringMatching(/^[0-9a-f]{64}$/) })
  })

  it('needs the scope to read', async () => {
    const authorization = await access.bearer(workspaceId, { scopes: ['orchestrator.control.write'] })
    for (const url of ['/audit', '/audit/verify']) expect((await get(url, authorization)).status).toBe(403)
  })
})
