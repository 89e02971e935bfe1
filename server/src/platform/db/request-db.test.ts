import { setImmediate as turn } from 'node:timers/promises'
import { Type } from 'typebox'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { createHttpServer, type HttpServer } from '../http/server.ts'
import { newId } from '../ids.ts'
import type { Db } from './db.ts'
import { asRequestOf, createRequestDb } from './request-db.ts'
import { many } from './statement.ts'

let database: TestDatabase
/** One connection: what a request leaves on it, the next one finds. */
let requestDb: Db
const tenants = [newId(), newId(), newId()]
const [a = '', b = ''] = tenants

interface Note {
  readonly tenant_id: string
  readonly text: string
}
/** A feature's statement that has lost its `where tenant_id = $1`. */
const everyNote = many<undefined, Note>('test.every_note', 'select tenant_id, text from note', () => [])
const forget = many<undefined, Note>('test.forget', 'delete from note returning tenant_id, text', () => [])

beforeAll(async () => {
  database = await testDatabase()
  for (const text of [
    'create table note (tenant_id uuid not null, text text not null)',
    `select protect_tenant_table('note')`,
    `insert into note select t, 'of ' || t from unnest('{${tenants.join(',')}}'::uuid[]) as t`,
  ])
    await database.owner.execute({ name: '', text }, [])
  const { log, metrics } = database.platform
  const on = { url: database.url, applicationName: 'test one', slowQueryMs: 60_000, log, metrics }
  requestDb = createRequestDb({ ...on, poolSize: 1 })
})
afterAll(async () => {
  await requestDb.close()
  await database.drop()
})

const notes = async (db: Pick<Db, 'execute'>) => (await everyNote(db, undefined)).map((row) => row.tenant_id)

describe('the Db of requests', () => {
  test('shows each of many requests at once its own tenant, in statements and in transactions', async () => {
    const asked = Array.from({ length: 60 }, (_, n) => tenants[n % 3] ?? '')
    const seen = await Promise.all(
      asked.map((tenantId, n) =>
        asRequestOf(tenantId, async () => {
          await turn()
          if (n % 2 === 0) return notes(requestDb)
          return requestDb.transaction(async (tx) => {
            const first = await notes(tx)
            await turn()
            expect(await notes(tx)).toEqual(first)
            return first
          })
        }),
      ),
    )
    expect(seen).toEqual(asked.map((tenantId) => [tenantId]))
  })

  test('forgets whose a connection was when a transaction has failed', async () => {
    const failed = asRequestOf(a, () =>
      requestDb.transaction(async (tx) => {
        await forget(tx, undefined)
        await tx.execute({ name: '', text: 'select 1 / 0' }, [])
      }),
    )
    await expect(failed).rejects.toThrow('division by zero')
    expect(await asRequestOf(b, () => notes(requestDb))).toEqual([b])
    expect(await asRequestOf(a, () => notes(requestDb))).toEqual([a])
  })

  test('runs nothing outside of a request, nor for a tenant whose id is none', async () => {
    await expect(notes(requestDb)).rejects.toThrow('outside of one')
    await expect(requestDb.transaction((tx) => notes(tx))).rejects.toThrow('outside of one')
    await expect(asRequestOf(`${a}'; reset role --`, () => notes(requestDb))).rejects.toThrow(
      'invalid input syntax',
    )
    await expect(asRequestOf('', () => notes(requestDb))).resolves.toEqual([])
  })

  test('is not what work that is shared between requests runs on: the service sees all, whoever began it', async () => {
    expect((await asRequestOf(a, () => notes(database.db))).toSorted()).toEqual(tenants.toSorted())
  })
})

describe('a route', () => {
  let app: HttpServer
  const tenantOf = new Map([
    ['Bearer a', a],
    ['Bearer b', b],
  ])
  beforeAll(async () => {
    const { log, metrics } = database.platform
    app = await createHttpServer({
      ...{ log, metrics, trustedProxies: [], bodyLimitBytes: 10_000, handlerTimeoutMs: 5_000, checks: [] },
      access: {
        authenticate: async ({ headers: { authorization = '' } }) => ({
          subject: 'svc:test',
          tenantId: tenantOf.get(authorization) ?? '',
          scopes: new Set(),
          roles: new Set(),
          tokenId: 't',
          issuedAt: Date.now(),
          expiresAt: Date.now() + 60_000,
        }),
        authorization: { knows: () => true, refusal: () => undefined, needs: () => '' },
      },
      openApi: { title: 'test', description: 'test', version: '1' },
    })
    const schema = (operationId: string) => ({ operationId, tags: ['notes'], summary: 'Notes' })
    const config = { access: { permission: 'notes.read' } }
    const body = Type.Object({ text: Type.String({ description: 'x' }) }, { additionalProperties: false })
    app.get('/notes', { config, schema: schema('list') }, () => everyNote(requestDb, undefined))
    // After a body has been read and parsed, and other hooks have waited.
    app.post(
      '/notes',
      { config, schema: { ...schema('add'), body }, preHandler: async () => turn() },
      async () => {
        await turn()
        return everyNote(requestDb, undefined)
      },
    )
    app.delete('/notes', { config, schema: schema('clear') }, () => forget(requestDb, undefined))
    app.get('/open', { config: { access: 'public' }, schema: schema('open') }, () =>
      everyNote(requestDb, undefined),
    )
    await app.ready()
  })
  afterAll(() => app.close())

  const call = (method: 'GET' | 'POST' | 'DELETE', of: string) =>
    app.inject({
      ...{ method, url: '/notes', headers: { authorization: `Bearer ${of}` } },
      ...(method === 'POST' && { payload: { text: 'x'.repeat(5_000) } }),
    })

  test('whose statement has lost its filter shows the caller nothing of another tenant', async () => {
    const calls = Array.from(
      { length: 40 },
      (_, n) => [n % 4 < 2 ? 'GET' : 'POST', n % 2 ? 'a' : 'b'] as const,
    )
    const answers = await Promise.all(
      calls.map(async ([method, of]) => [of, (await call(method, of)).json()] as const),
    )
    for (const [of, rows] of answers) {
      const tenantId = of === 'a' ? a : b
      expect(rows).toEqual([{ tenant_id: tenantId, text: `of ${tenantId}` }])
    }
  })

  test('whose statement has lost its filter removes nothing of another tenant', async () => {
    expect((await call('DELETE', 'b')).json()).toHaveLength(1)
    expect((await notes(database.owner)).toSorted()).toEqual(tenants.filter((id) => id !== b).toSorted())
  })

  test('without a caller has no tenant, and shows nothing', async () => {
    expect((await app.inject({ url: '/open' })).statusCode).toBe(500)
  })
})
