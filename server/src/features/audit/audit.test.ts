import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AuditLog, auditLog } from '../../../testing/audit-log.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { newId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { auditControl } from './audit.control.ts'
import { exportAudit, listAudit, recordAudit, verifyChain } from './audit.ts'

let database: TestDatabase
let audit: AuditLog
let access: TenantAccess
let app: HttpServer
let workspaceId: string
/** Why exports may not go on. */
let stopWith: 'token_ended' | undefined

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  app = await access.server()
  audit = await auditLog(database)
  auditControl(app, {
    db: database.db,
    evidence: audit.evidence,
    reasonToStop: async () => stopWith,
    hub: {
      db: database.db,
      tenantId: NO_WORKSPACE,
      slugOf: async (id) => (await access.directory.find(id))?.slug,
    },
  })
  await app.ready()
  workspaceId = (await access.workspace('audit-dev')).id
})
afterAll(async () => {
  await audit.close()
  await access.close()
  await database.drop()
})

const record = (tenantId: string, object: string, diff: { path: string; after: unknown }[] = []) =>
  audit.record(tenantId, { object, diff })

describe('the chain of a workspace', () => {
  it('is intact when empty and after entries with every kind of content', async () => {
    const tenantId = newId()
    expect(await verifyChain(database.db, tenantId)).toMatchObject({
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
    const tenantId = await audit.chainOf(1)
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

  it('keeps who, as whom, in which role, from where and with what, and no secrets', async () => {
    const tenantId = newId()
    const password = new Secret('hunter2')
    await audit.record(tenantId, {
      ...{ actor: 'operator:ann', role: 'admin,support', impersonator: 'operator:bob' },
      call: { ...CHANGE.call, client: { ip: '192.0.2.1', userAgent: 'curl/8' } },
      diff: [
        { path: '/password', after: password },
        { path: '', after: { deep: [password] } },
      ],
    })
    const [entry] = await listAudit(database.db, { tenantId, limit: 1 })
    expect(entry).toMatchObject({
      ...{ actor: 'operator:ann', role: 'admin,support', impersonator: 'operator:bob' },
      ...{ ip: '192.0.2.1', userAgent: 'curl/8' },
      diff: [
        { path: '/password', after: '[secret]' },
        { path: '', after: { deep: ['[secret]'] } },
      ],
    })
    expect(await verifyChain(database.db, tenantId)).toMatchObject({ intact: true, entries: 1 })
  })
})

const inject = (url: string, authorization: string) => app.inject({ url, headers: { authorization } })

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
        role: null,
        impersonator: null,
        action: 'thing.changed',
        object: 'thing:7',
        reason: CHANGE.reason,
        diff: [{ path: '/n', after: 7 }],
        ip: null,
        user_agent: null,
        request_id: CHANGE.call.requestId,
        trace_id: CHANGE.call.traceId,
        hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    ])
  })

  it('finds what an impersonator did, and what was done in a time', async () => {
    const { id } = await access.workspace('audit-filters-dev')
    await audit.record(id, { object: 'thing:before' })
    await audit.record(id, { object: 'thing:as', actor: 'operator:ann', impersonator: 'operator:bob' })
    const all = await listAudit(database.db, { tenantId: id, limit: 10 })
    const [last] = all
    const authorization = await access.bearer(id)
    const objects = async (query: string) =>
      (await get(`/audit?${query}`, authorization)).body.data.map(({ object }: { object: string }) => object)
    expect(await objects('actor=operator:bob')).toEqual(['thing:as'])
    expect(await objects('actor=operator:ann')).toEqual(['thing:as'])
    const at = last?.at.toISOString() ?? ''
    expect(await objects(`from=${at}`)).toContain('thing:as')
    expect(await objects(`to=${at}`)).not.toContain('thing:as')
    // The same moment as somewhere else writes it.
    expect(await objects(`from=${encodeURIComponent(at.replace('Z', '+00:00'))}`)).toContain('thing:as')
  })

  it.each([
    '/audit?cursor=x',
    '/audit?cursor=WyJhIl0',
    '/audit?limit=0',
    '/audit?foo=1',
    '/audit?from=yesterday',
    '/audit?from=2016-12-31T23:59:60Z',
    '/audit?to=2026-13-01T00:00:00Z',
    '/audit/export?format=xml',
    '/audit/export?from=1',
    '/audit/export?to=2016-12-31T23:59:60Z',
  ])('refuses %s with a named field', async (url) => {
    const { status, body } = await get(url, await access.bearer(workspaceId))
    expect([status, body.code, body.details?.length]).toEqual([400, 'validation_error', 1])
  })

  it('verifies the chain on request', async () => {
    await audit.checkpointAgain()
    const { body } = await get('/audit/verify', await access.bearer(workspaceId))
    const head = expect.stringMatching(/^[0-9a-f]{64}$/)
    expect(body).toEqual({ intact: true, entries: 2, head, checkpoints: 2, removed: 0 })
  })

  it('needs the scope to read', async () => {
    const authorization = await access.bearer(workspaceId, { scopes: ['orchestrator.control.write'] })
    for (const url of ['/audit', '/audit/verify', '/audit/export'])
      expect((await get(url, authorization)).status).toBe(403)
  })
})

describe('GET /platform/audit', () => {
  it('gives a platform auditor the chain of the platform and the state of all, and nobody else', async () => {
    await audit.record(NO_WORKSPACE, { object: 'operator:ann' })
    const auditor = await access.bearer(NO_WORKSPACE, { scopes: [], roles: ['platform_auditor'] })
    const list = await inject('/platform/audit', auditor)
    expect(list.json().data).toMatchObject([{ object: 'operator:ann' }])
    expect((await inject('/platform/audit/verify', auditor)).json()).toMatchObject({
      intact: true,
      entries: 1,
    })
    expect((await inject('/platform/audit/export', auditor)).body).toContain('operator:ann')

    const broken = await access.workspace('audit-broken-dev')
    await audit.damage(broken.id, `update audit_entry set reason = 'x' where tenant_id = $1`)
    const { intact, chains } = (await inject('/platform/audit/chains', auditor)).json()
    expect(intact).toBe(false)
    expect(chains).toContainEqual(
      expect.objectContaining({ workspace: 'audit-broken-dev', intact: false, seq: 1 }),
    )
    expect(chains).toContainEqual(
      expect.objectContaining({ tenant_id: NO_WORKSPACE, workspace: null, intact: true }),
    )

    const member = await access.bearer(workspaceId)
    for (const path of ['', '/verify', '/export', '/chains'])
      expect((await inject(`/platform/audit${path}`, member)).statusCode).toBe(403)
  })
})

describe('GET /audit/export', () => {
  it('gives every entry once, oldest first, over many pages, as JSON lines or CSV', async () => {
    const { id } = await access.workspace('audit-export-dev')
    await database.db.transaction(async (tx) => {
      for (let n = 2; n <= 1_201; n += 1)
        await recordAudit(tx, { ...CHANGE, tenantId: id, action: 'thing.changed', object: `thing:${n}` })
    })
    const authorization = await access.bearer(id)
    const json = await inject('/audit/export', authorization)
    expect(json.headers).toMatchObject({
      'content-type': 'application/x-ndjson',
      'content-disposition': 'attachment; filename="audit.ndjson"',
      'cache-control': 'no-store',
      'x-request-id': expect.any(String),
      'x-content-type-options': 'nosniff',
    })
    const entries = json.body
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(entries.map(({ seq }) => seq)).toEqual(Array.from({ length: 1_201 }, (_, at) => at + 1))
    const listed = (await inject('/audit?limit=1', authorization)).json().data
    expect(entries.at(-1)).toEqual(listed[0])

    const csv = await inject('/audit/export?format=csv&object=thing:7', authorization)
    expect(csv.headers['content-type']).toMatch(/^text\/csv/)
    const [head, line, end] = csv.body.split('\r\n')
    expect(head).toBe(
      'seq,at,actor,role,impersonator,action,object,reason,diff,ip,user_agent,request_id,trace_id,hash',
    )
    expect(line).toMatch(
      /^7,[^,]+,svc:test,,,thing\.changed,thing:7,a test,\[\],,,request-1,a{32},[0-9a-f]{64}$/,
    )
    expect(end).toBe('')
  })

  it('gives a spreadsheet text where it would see a formula, and keeps commas, quotes and lines in one cell', async () => {
    const { id } = await access.workspace('audit-formula-dev')
    const reasons = ['=1+1', '+1', '-1', '@a', '\tx', '\rx', 'a,"b"\r\nc', 'plain']
    for (const reason of reasons) await audit.record(id, { object: 'thing:cell', reason })
    const { body } = await inject('/audit/export?format=csv&object=thing:cell', await access.bearer(id))
    for (const cell of [
      `,'=1+1,`,
      `,'+1,`,
      `,'-1,`,
      `,'@a,`,
      `,'\tx,`,
      `,"'\rx",`,
      `,"a,""b""\r\nc",`,
      ',plain,',
    ])
      expect(body).toContain(cell)
  })

  it('gives nothing of other workspaces, changes no chain, and leaves an event', async () => {
    const { id } = await access.workspace('audit-event-dev')
    const before = await verifyChain(database.db, id)
    const { body } = await inject('/audit/export', await access.bearer(id))
    expect(body.trimEnd().split('\n')).toHaveLength(1)
    expect(await verifyChain(database.db, id)).toEqual(before)
    const events = await database.db.execute<{ data: unknown }>(
      { name: '', text: `select data from event where tenant_id = $1 and type = 'audit.exported'` },
      [id],
    )
    expect(events.rows).toMatchObject([{ data: { by: 'svc:test', format: 'json' } }])
  })

  it('breaks off when its caller may not go on', async () => {
    const { id } = await access.workspace('audit-ended-dev')
    await database.db.transaction(async (tx) => {
      for (let n = 0; n < 501; n += 1)
        await recordAudit(tx, { ...CHANGE, tenantId: id, action: 'thing.changed', object: 'thing:1' })
    })
    const authorization = await access.bearer(id)
    stopWith = 'token_ended'
    await expect(inject('/audit/export', authorization)).rejects.toThrow()
    stopWith = undefined
    expect((await inject('/audit/export', authorization)).body.trimEnd().split('\n')).toHaveLength(502)
  })

  it('holds one page in memory, however much there is', async () => {
    const { id } = await access.workspace('audit-pages-dev')
    for (let n = 0; n < 3; n += 1) await audit.record(id)
    let asked = 0
    const counting: Queryable = {
      execute: (statement, values) => {
        if (statement.name === 'audit.list_forward') asked += 1
        return database.db.execute(statement, values)
      },
    }
    const chunks = exportAudit(counting, { tenantId: id }, 'json')
    await chunks.next()
    expect(asked).toBe(1)
    expect((await chunks.next()).done).toBe(true)
  })
})
