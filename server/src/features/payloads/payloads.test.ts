import { randomBytes } from 'node:crypto'
import { copyFile, readFile, rename, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { manualClock } from '../../../testing/manual-clock.ts'
import { type TestPayloads, testPayloads } from '../../../testing/payload-store.ts'
import { testEnvelope } from '../../../testing/secret-stores.ts'
import { startUpstream } from '../../../testing/upstream.ts'
import { asRequestOf } from '../../platform/db/request-db.ts'
import { newId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { createS3Store } from '../../platform/storage/s3-store.ts'
import { Problem } from '../../problems.ts'
import type { KeptPayload, Payloads } from './payloads.ts'

let database: TestDatabase
let on: TestPayloads
const never = new AbortController().signal
beforeAll(async () => {
  database = await testDatabase()
})
beforeEach(async () => {
  on = testPayloads(database.platform)
})
afterEach(async () => {
  await on.remove()
  await database.db.execute({ name: '', text: 'delete from payload' }, [])
  await database.db.execute({ name: '', text: 'delete from payload_spool' }, [])
  await database.db.execute({ name: '', text: 'delete from payload_erasure' }, [])
})
afterAll(() => database.drop())

const query = async <Row extends object>(text: string, values: readonly unknown[] = []) =>
  (await database.db.execute<Row & Record<string, unknown>>({ name: '', text }, values)).rows
const spooled = async () => (await query<{ id: string }>('select id from payload_spool')).map(({ id }) => id)

const tenantId = newId()
const BYTES = randomBytes(5_000)

/** Kept and recorded; the owner is nobody. */
async function kept(payloads: Payloads, bytes = BYTES, tenant = tenantId): Promise<KeptPayload> {
  const payload = await payloads.keep(tenant, bytes, 'application/json')
  if (!payload) throw new Error('it is small enough')
  await database.db.transaction((tx) =>
    payloads.record(tx, [{ payload, owner: { kind: 'webhook', id: newId() } }]),
  )
  return payload
}

const problemOf = async (work: Promise<unknown>): Promise<[string, string]> => {
  const error = await work.then(
    () => undefined,
    (failure: unknown) => failure,
  )
  if (!(error instanceof Problem)) throw new Error(`no problem: ${String(error)}`)
  return [error.code, error.message]
}

describe('kept', () => {
  test('what is small stays inline; one byte more comes back as it was', async () => {
    expect(await on.payloads.keep(tenantId, Buffer.alloc(1_000), 'x/y')).toBeUndefined()
    const bytes = randomBytes(1_001)
    const payload = await kept(on.payloads, bytes)
    expect(payload).toMatchObject({ size: 1_001, contentType: 'application/json', sealedKey: null })
    expect((await on.payloads.read(tenantId, payload.id)).equals(bytes)).toBe(true)
    expect(await on.payloads.find(tenantId, payload.id)).toMatchObject({
      ...{
        id: payload.id,
        size: 1_001,
        sha256: payload.sha256,
        sealed: false,
        spooled: false,
        store: 'disk',
      },
    })
    expect(await readFile(join(on.folder, payload.objectKey))).toEqual(bytes)
  })

  test('another workspace, an unknown id and an erased one are told alike', async () => {
    const payload = await kept(on.payloads)
    const missing = await problemOf(on.payloads.read(tenantId, newId()))
    expect(await problemOf(on.payloads.read(newId(), payload.id))).toEqual(missing)
    expect(await on.payloads.find(newId(), payload.id)).toBeUndefined()
    await database.db.transaction((tx) => on.payloads.erase(tx, newId(), [payload.id]))
    expect(await on.payloads.read(tenantId, payload.id)).toEqual(BYTES)
    await database.db.transaction((tx) => on.payloads.erase(tx, tenantId, [payload.id]))
    expect(await problemOf(on.payloads.read(tenantId, payload.id))).toEqual(missing)
    expect(missing[0]).toBe('payload_gone')
  })

  test('a transaction that fails leaves no row', async () => {
    const payload = await on.payloads.keep(tenantId, BYTES, 'x/y')
    if (!payload) throw new Error('small')
    const failed = database.db.transaction(async (tx) => {
      await on.payloads.record(tx, [{ payload, owner: { kind: 'webhook', id: newId() } }])
      throw new Error('undo')
    })
    await expect(failed).rejects.toThrow('undo')
    expect(await on.payloads.find(tenantId, payload.id)).toBeUndefined()
  })

  test('a type that could break a header is none', async () => {
    for (const type of ['', 'a\r\nx: y', 'x'.repeat(300), 'ü/y'])
      expect((await on.payloads.keep(tenantId, BYTES, type))?.contentType).toBe('application/octet-stream')
  })

  test.each([
    [
      'a flipped byte',
      (path: string) => readFile(path).then((bytes) => writeFile(path, bytes.with(9, (bytes[9] ?? 0) ^ 1))),
    ],
    ['a missing end', (path: string) => truncate(path, 4_999)],
    [
      'more than there was',
      (path: string) =>
        readFile(path).then((bytes) => writeFile(path, Buffer.concat([bytes, Buffer.from('x')]))),
    ],
    ['no object', (path: string) => rename(path, `${path}.away`)],
  ])('%s in the store is told as damage, never read as if it were the payload', async (_what, harm) => {
    for (const payloads of [on.payloads, on.with({ encrypt: true })]) {
      const payload = await kept(payloads)
      await harm(join(on.folder, payload.objectKey))
      expect((await problemOf(payloads.read(tenantId, payload.id)))[0]).toBe('payload_damaged')
    }
  })
})

describe('encrypted', () => {
  test('the store has nothing readable, and it is read whatever the setting is later', async () => {
    const bytes = Buffer.alloc(3_000, 'a secret of a customer ')
    const payload = await kept(on.with({ encrypt: true }), bytes)
    expect((await readFile(join(on.folder, payload.objectKey))).includes('customer')).toBe(false)
    expect(await on.payloads.read(tenantId, payload.id)).toEqual(bytes)
    expect(await on.payloads.find(tenantId, payload.id)).toMatchObject({ sealed: true, size: 3_000 })
  })

  test('an object in the place of another, of the same workspace or not, does not open', async () => {
    const encrypting = on.with({ encrypt: true })
    const payload = await kept(encrypting)
    for (const tenant of [tenantId, newId()]) {
      const other = await kept(encrypting, BYTES, tenant)
      await copyFile(join(on.folder, other.objectKey), join(on.folder, payload.objectKey))
      // With the key, too: the place is authenticated.
      await query(
        'update payload p set sealed_key = o.sealed_key from payload o where p.id = $1 and o.id = $2',
        [payload.id, other.id],
      )
      expect((await problemOf(encrypting.read(tenantId, payload.id)))[0]).toBe('payload_damaged')
    }
  })

  test('a spooled body is encrypted, too', async () => {
    await on.goAway()
    const bytes = Buffer.alloc(3_000, 'a secret of a customer ')
    const payload = await kept(on.with({ encrypt: true }), bytes)
    const [row] = await query<{ found: boolean }>(
      `select position('customer'::bytea in body) > 0 as found from payload_spool where id = $1`,
      [payload.id],
    )
    expect(row?.found).toBe(false)
    expect(await on.payloads.read(tenantId, payload.id)).toEqual(bytes)
  })

  test('without its key-encryption key it waits, and is not taken for damaged', async () => {
    const payload = await kept(on.with({ encrypt: true }))
    const keys = testEnvelope().keys
    const { EnvelopeFailure } = await import('../../platform/envelope.ts')
    const gone = async () => {
      throw new EnvelopeFailure('key_unavailable', 'Vault does not answer.')
    }
    const { openEnvelope } = await import('../../platform/envelope.ts')
    const keyless = on.with({
      encrypt: true,
      envelope: openEnvelope({ keys: { ...keys, wrap: gone, unwrap: gone } }),
    })
    expect((await problemOf(keyless.read(tenantId, payload.id)))[0]).toBe('payload_store_unavailable')
    expect((await problemOf(keyless.keep(tenantId, BYTES, 'x/y')))[0]).toBe('payload_store_unavailable')
  })
})

describe('with the store away', () => {
  test('bodies wait in the database, are read from there, and move when it is back', async () => {
    await on.goAway()
    const payloads = [await kept(on.payloads), await kept(on.payloads, randomBytes(2_000))]
    expect(await on.payloads.read(tenantId, payloads[0]?.id ?? '')).toEqual(BYTES)
    expect(await on.payloads.find(tenantId, payloads[0]?.id ?? '')).toMatchObject({ spooled: true })
    await on.care.move(never)
    expect(await spooled()).toHaveLength(2)
    await on.comeBack()
    await on.care.move(never)
    expect(await spooled()).toEqual([])
    for (const payload of payloads) {
      expect(await on.payloads.find(tenantId, payload.id)).toMatchObject({ spooled: false })
      expect(await on.payloads.read(tenantId, payload.id)).toHaveLength(payload.size)
      expect(await readFile(join(on.folder, payload.objectKey))).toHaveLength(payload.size)
    }
  })

  test('what is in the store cannot be read, which says nothing against it', async () => {
    const payload = await kept(on.payloads)
    await on.goAway()
    expect((await problemOf(on.payloads.read(tenantId, payload.id)))[0]).toBe('payload_store_unavailable')
    await on.comeBack()
    expect(await on.payloads.read(tenantId, payload.id)).toEqual(BYTES)
  })

  test('the spool has its bound over all processes, to the byte', async () => {
    await on.goAway()
    const processes = Array.from({ length: 4 }, () => on.with({ spoolLimitBytes: 15_000 }))
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, at) => processes[at % 4]?.keep(newId(), BYTES, 'x/y')),
    )
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(3)
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
    for (const error of refused) expect(error).toMatchObject({ code: 'payload_store_unavailable' })
    expect(
      await query('select sum(size)::int as sum, sum(length(body))::int as bytes from payload_spool'),
    ).toEqual([{ sum: 15_000, bytes: 15_000 }])
    const none = on.with({ spoolLimitBytes: 0 })
    expect((await problemOf(none.keep(tenantId, BYTES, 'x/y')))[0]).toBe('payload_store_unavailable')
  })

  test('a body that nobody recorded leaves the spool after an hour, and never reaches the store', async () => {
    await on.goAway()
    await on.payloads.keep(tenantId, BYTES, 'x/y')
    const recorded = await kept(on.payloads)
    await query(`update payload_spool set spooled_at = spooled_at - interval '61 minutes'`)
    await query(`delete from leader where name = 'payloads'`)
    await on.care.sweep(never)
    expect(await spooled()).toEqual([recorded.id])
    await on.comeBack()
  })

  test('erased before it was moved, it is nowhere', async () => {
    await on.goAway()
    const payload = await kept(on.payloads)
    await database.db.transaction((tx) => on.payloads.erase(tx, tenantId, [payload.id]))
    expect(await spooled()).toEqual([])
    await on.comeBack()
  })

  test('one caller at a time tries it again, the others do not wait for it', async () => {
    const clock = manualClock()
    const upstream = await startUpstream()
    upstream.reset((response) => void response.writeHead(503).end())
    const key = new Secret('key')
    const s3 = createS3Store({
      ...{ endpoint: upstream.url, region: 'r', bucket: 'b' },
      credentials: async () => ({ accessKeyId: key, secretAccessKey: key }),
    })
    const payloads = on.with({
      platform: { ...database.platform, clock },
      stores: { current: 's3', byName: new Map([['s3', s3]]) },
    })
    const keepMany = () => Promise.all(Array.from({ length: 8 }, () => payloads.keep(tenantId, BYTES, 'x/y')))
    await payloads.keep(tenantId, BYTES, 'x/y')
    expect(upstream.requests).toHaveLength(1)
    await keepMany()
    expect(upstream.requests).toHaveLength(1)
    await clock.advance(2_000)
    await keepMany()
    expect(upstream.requests).toHaveLength(2)
    // The pause has doubled.
    await clock.advance(2_000)
    await keepMany()
    expect(upstream.requests).toHaveLength(2)
    await clock.advance(2_000)
    upstream.reset((response) => void response.end())
    await payloads.keep(tenantId, BYTES, 'x/y')
    await keepMany()
    expect(upstream.requests).toHaveLength(9)
    expect(await spooled()).toHaveLength(25)
    s3.close()
    await upstream.close()
  })
})

test('a request erases what is its workspace’s, and objects follow whoever erased', async () => {
  const payload = await kept(on.payloads)
  const foreign = await kept(on.payloads, BYTES, newId())
  await asRequestOf(tenantId, () =>
    database.platform.requestDb.transaction((tx) =>
      on.payloads.erase(tx, tenantId, [payload.id, foreign.id]),
    ),
  )
  expect(await on.payloads.find(foreign.tenantId, foreign.id)).toBeDefined()
  await on.care.erase(never)
  await expect(readFile(join(on.folder, payload.objectKey))).rejects.toThrow('ENOENT')
  expect(await readFile(join(on.folder, foreign.objectKey))).toEqual(BYTES)
})
