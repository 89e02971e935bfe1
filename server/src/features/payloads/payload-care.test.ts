import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type TestPayloads, testPayloads } from '../../../testing/payload-store.ts'
import { firstIdAt, newId } from '../../platform/ids.ts'
import type { KeptPayload, PayloadOwner } from './payloads.ts'

/** What the workers do about payloads that nobody waits for. */
let database: TestDatabase
let on: TestPayloads
const never = new AbortController().signal
const DAY_MS = 86_400_000
const PUT = { contentType: 'application/octet-stream', timeoutMs: 5_000 }

beforeAll(async () => {
  database = await testDatabase()
})
beforeEach(async () => {
  on = testPayloads(database.platform)
})
afterEach(async () => {
  await on.remove()
  for (const table of ['payload', 'payload_spool', 'payload_erasure', 'payload_swept_day'])
    await query(`delete from ${table}`)
  await query(`delete from leader where name = 'payloads'`)
})
afterAll(() => database.drop())

const query = async <Row extends object>(text: string, values: readonly unknown[] = []) =>
  (await database.db.execute<Row & Record<string, unknown>>({ name: '', text }, values)).rows
const disk = () => {
  const store = on.stores.byName.get('disk')
  if (!store) throw new Error('no disk')
  return store
}
const isThere = (key: string): Promise<boolean> =>
  access(join(on.folder, key)).then(
    () => true,
    () => false,
  )
const sweep = async (): Promise<void> => {
  await query(`delete from leader where name = 'payloads'`)
  await on.care.sweep(never)
}

async function kept(owner: PayloadOwner, tenantId = newId()): Promise<KeptPayload> {
  const payload = await on.payloads.keep(tenantId, Buffer.alloc(2_000, 'x'), 'x/y')
  if (!payload) throw new Error('it is small enough')
  await database.db.transaction((tx) => on.payloads.record(tx, [{ payload, owner }]))
  return payload
}
const hub = async () => (await query<{ id: string }>('select id from payload_hub'))[0]?.id ?? ''
const dayOf = (daysAgo: number) => new Date(Date.now() - daysAgo * DAY_MS).toISOString().slice(0, 10)

test('an object that never got a row goes two days later; nothing else of the store is touched', async () => {
  const [old, young, tenantId] = [dayOf(3), dayOf(1), newId()]
  const oldId = firstIdAt(Date.now() - 3 * DAY_MS)
  const orphan = `${await hub()}/${old}/${tenantId}/${oldId}`
  const others = [
    // Its transaction may not have ended.
    `${await hub()}/${young}/${tenantId}/${firstIdAt(Date.now() - DAY_MS)}`,
    // Another hub's, and somebody else's.
    `${newId()}/${old}/${tenantId}/${oldId}`,
    `${await hub()}/${old}/notes/readme.txt`,
  ]
  const owned = await kept({ kind: 'webhook', id: newId() })
  const ownedKey = `${await hub()}/${old}/${owned.tenantId}/${owned.id}`
  await query('update payload set object_key = $1 where id = $2', [ownedKey, owned.id])
  for (const key of [orphan, ...others, ownedKey]) await disk().put(key, Buffer.from('x'), PUT)
  await sweep()
  expect(await isThere(orphan)).toBe(false)
  for (const key of [...others, ownedKey]) expect(await isThere(key), key).toBe(true)
  // Each day once: what comes to lie there later is not looked for.
  await disk().put(orphan, Buffer.from('x'), PUT)
  await sweep()
  expect(await isThere(orphan)).toBe(true)
})

test('a day that could not be looked through is not taken for clean', async () => {
  const orphan = `${await hub()}/${dayOf(3)}/${newId()}/${firstIdAt(Date.now() - 3 * DAY_MS)}`
  await disk().put(orphan, Buffer.from('x'), PUT)
  await on.goAway()
  await sweep()
  expect(await query('select from payload_swept_day')).toEqual([])
  await on.comeBack()
  await sweep()
  expect(await isThere(orphan)).toBe(false)
})

test('rows go whose owner has gone, of every kind; those of living ones stay, and young ones, too', async () => {
  const tenantId = newId()
  const id = newId()
  const owners: PayloadOwner[] = (['webhook', 'job_input', 'job_result', 'execution'] as const).map(
    (kind) => ({
      kind,
      id,
    }),
  )
  const living = await Promise.all(owners.map((owner) => kept(owner, tenantId)))
  const [webhook, input, result] = living.map((payload) => payload.id)
  const dead = await Promise.all(owners.map((owner) => kept({ ...owner, id: newId() }, tenantId)))
  // The reference is to another payload: an erased input, an attempt that lost its lease.
  const replaced = await Promise.all(owners.slice(0, 3).map((owner) => kept(owner, tenantId)))
  const ref = (of: string | undefined) => JSON.stringify({ kind: 'payload', id: of })
  await query(
    `insert into webhook_payload (tenant_id, id, sha256, headers, payload_id) values ($1, $2, sha256(''), '{}', $3)`,
    [...[tenantId, id, webhook]],
  )
  await query(
    `insert into job_payload (tenant_id, job_id, input, input_ref, metadata) values ($1, $2, 'null', $3, '{}')`,
    [...[tenantId, id, ref(input)]],
  )
  await query(
    `insert into job_attempt (tenant_id, job_id, lease_id, attempt, node_id, started_at, ended_at, outcome, why, result_ref)
     values ($1, $2, 1, 1, $2, now(), now(), 'done', 'x', $3)`,
    [tenantId, id, ref(result)],
  )
  await query(
    `insert into execution_key (tenant_id, key, execution_id, fingerprint, lease_until, repeatable, safe, connector, operation,
       config_version, subject, request_id, correlation_id, traceparent, expires_at)
     values ($1, 'k', $2, sha256(''), now(), true, true, 'c', 'o', 1, 's', 'r', 'c', 't', now())`,
    [tenantId, id],
  )
  const ids = async () => (await query<{ id: string }>('select id from payload')).map((row) => row.id).sort()
  const all = [...living, ...dead, ...replaced].map((payload) => payload.id).sort()
  await sweep()
  expect(await ids()).toEqual(all)
  await query(`update payload set created_at = created_at - interval '25 hours'`)
  await sweep()
  expect(await ids()).toEqual(living.map((payload) => payload.id).sort())
  await on.care.erase(never)
  for (const payload of living) expect(await isThere(payload.objectKey)).toBe(true)
  for (const payload of [...dead, ...replaced]) expect(await isThere(payload.objectKey)).toBe(false)
})

test('the objects of a deleted workspace go with it, also when the store was away', async () => {
  const tenantId = newId()
  await query(
    `insert into workspace (id, slug, name, environment, status, status_before, delete_after)
     values ($1, 'gone-dev', 'Gone', 'dev', 'deleting', 'active', now() - interval '1 day')`,
    [tenantId],
  )
  const payload = await kept({ kind: 'webhook', id: newId() }, tenantId)
  const other = await kept({ kind: 'webhook', id: newId() })
  await on.goAway()
  const spooled = await kept({ kind: 'webhook', id: newId() }, tenantId)
  // As the worker does, which knows tables and no stores.
  while ((await query<{ gone: number }>('select purge_workspace($1, 1) as gone', [tenantId]))[0]?.gone !== 0);
  expect(await query('select from payload_spool')).toEqual([])
  await on.care.erase(never)
  await on.comeBack()
  expect(await isThere(payload.objectKey)).toBe(true)
  // The next try, a minute later.
  await query('update payload_erasure set due_at = now()')
  await on.care.erase(never)
  expect(await isThere(payload.objectKey)).toBe(false)
  expect(await isThere(spooled.objectKey)).toBe(false)
  expect(await isThere(other.objectKey)).toBe(true)
  expect(await query('select from payload_erasure')).toEqual([])
})

test('a body that was moved and not taken off the spool is moved again, and is the same', async () => {
  await on.goAway()
  const payload = await kept({ kind: 'webhook', id: newId() })
  await on.comeBack()
  // As a worker that died after the put.
  await disk().put(payload.objectKey, Buffer.alloc(2_000, 'x'), PUT)
  // Two workers at once.
  await Promise.all([on.care.move(never), on.care.move(never)])
  expect(await query('select from payload_spool')).toEqual([])
  expect(await on.payloads.read(payload.tenantId, payload.id)).toHaveLength(2_000)
})
