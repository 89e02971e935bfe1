/** Several rotations one after the other: an overlap is of the value that it replaces, and of no other. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { testEnvelope, testStores, usesUnseen } from '../../../testing/secret-stores.ts'
import { signaturesWith } from '../../../testing/signatures-with.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { systemClock } from '../../platform/clock.ts'
import { Secret } from '../../platform/secret.ts'
import {
  createSecretResolver,
  putSecretRef,
  putSecretValue,
  type ResolveSecret,
  revertSecret,
} from './secrets.ts'

const envelope = testEnvelope()
const variables = new Map<string, string>()
let database: TestDatabase
let access: TenantAccess
let resolve: ResolveSecret
let tenantId: string
let made = 0

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  const { db } = database
  resolve = createSecretResolver({
    ...{ db, directory: access.directory, clock: systemClock, lastUsed: usesUnseen, ttlMs: 0 },
    readRef: testStores({ db, envelope, variables }),
  })
})
afterAll(async () => {
  await access.close()
  await database.drop()
})
beforeEach(async () => {
  made += 1
  tenantId = (await access.workspace(`row-${made}-dev`)).id
  for (const name of ['ONE', 'TWO', 'THREE'])
    variables.set(`ORCH_SECRET__ROW_${made}_DEV__${name}`, name.toLowerCase())
})

const put = (value: string, overlapSeconds?: number) =>
  putSecretValue(
    { db: database.db, envelope },
    { tenantId, name: 'hook', value: new Secret(value), overlapSeconds },
    CHANGE,
  )
const point = (ref: string, overlapSeconds?: number) =>
  putSecretRef(database.db, { tenantId, name: 'hook', ref, overlapSeconds }, CHANGE)
const revert = (overlapSeconds?: number) =>
  revertSecret(database.db, { tenantId, name: 'hook', overlapSeconds }, CHANGE)
const inForce = async () => (await resolve(tenantId, 'hook')).inForce().map((one) => one.reveal())

const key = (fill: number) => `whsec_${Buffer.alloc(24, fill).toString('base64')}`
const [V1, V2, V3] = [key(1), key(2), key(3)]

const usedForSignatures = async () => signaturesWith(await resolve(tenantId, 'hook'), [V1, V2, V3])

it('one without an overlap ends all values before it, for webhooks and for callbacks', async () => {
  await put(V1)
  await put(V2, 3_600)
  expect(await usedForSignatures()).toEqual({ accepted: [V1, V2], signing: [V1, V2] })
  await put(V3, 0)
  expect(await usedForSignatures()).toEqual({ accepted: [V3], signing: [V3] })
})

it('one with an overlap keeps only the value that it replaces', async () => {
  await put(V1)
  await put(V2, 3_600)
  await put(V3, 60)
  expect(await usedForSignatures()).toEqual({ accepted: [V2, V3], signing: [V2, V3] })
})

it('taking one back keeps only what is taken back, and only if asked to', async () => {
  await put('one')
  await put('two', 3_600)
  await put('three', 3_600)
  await revert(60)
  expect(await inForce()).toEqual(['two', 'three'])
  await revert()
  expect(await inForce()).toEqual(['three'])
})

it('is the same for places elsewhere', async () => {
  await point('env://ONE')
  await point('env://TWO', 3_600)
  await point('env://THREE', 3_600)
  expect(await inForce()).toEqual(['three', 'two'])
  await point('env://ONE', 0)
  expect(await inForce()).toEqual(['one'])
})

it('a leaked value in the store ends the place elsewhere that was accepted besides it', async () => {
  await point('env://ONE')
  await put('two', 3_600)
  expect(await inForce()).toEqual(['two', 'one'])
  await put('three', 0)
  expect(await inForce()).toEqual(['three'])
})

it('pointing elsewhere takes no older values of the store along, nor brings them back', async () => {
  await put('one')
  await put('two', 3_600)
  await point('env://THREE', 3_600)
  expect(await inForce()).toEqual(['three', 'two'])
  await point('store://hook')
  expect(await inForce()).toEqual(['two'])
})

it('the first value in the store replaces none: what is accepted meanwhile stays as long as it was told', async () => {
  await point('env://ONE')
  await point('store://hook', 3_600)
  await put('two', 60)
  expect(await inForce()).toEqual(['two', 'one'])
  await put('three')
  expect(await inForce()).toEqual(['three'])
})
