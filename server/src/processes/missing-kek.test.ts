import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../testing/database.ts'
import { loadConfig } from '../config.ts'
import { createLog } from '../platform/log.ts'
import { BUILDERS } from './one.ts'
import { issueOperatorToken } from './operator-token.ts'
import { type BuiltProcess, stopInOrder } from './runtime.ts'

const log = createLog('test', 'silent')
const reason = 'a test'
let database: TestDatabase
let folder: string
let control: BuiltProcess
let token: string

beforeAll(async () => {
  database = await testDatabase()
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-test-kek-'))
  const config = loadConfig({ DATA_DIR: folder, DATABASE_URL: database.url, KEK_SOURCE: 'env' })
  control = await BUILDERS.control({ config, databaseUrl: database.url, log })
  await control.begin?.()
  const signed = { plane: 'control', platformAdmin: true, lifetimeSeconds: 600 } as const
  const platform = await issueOperatorToken(config, signed)
  const made = await send(
    'POST',
    '/workspaces',
    { slug: 'kek-dev', name: 'x', template: 'empty', reason },
    platform,
  )
  token = await issueOperatorToken(config, { ...signed, platformAdmin: false, tenantId: made.json().id })
})
afterAll(async () => {
  await stopInOrder(log, 5_000, [['server', () => control.app.close()], ...control.stopSteps])
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

const send = (method: 'GET' | 'PUT' | 'POST', url: string, payload?: object, bearer = token) =>
  control.app.inject({
    method,
    url,
    ...(bearer && { headers: { authorization: `Bearer ${bearer}` } }),
    ...(payload && { payload }),
  })

test('without a key-encryption key control works, /ready names it, and nothing is kept or read', async () => {
  const ready = await send('GET', '/ready')
  expect([ready.statusCode, ready.json().ready]).toEqual([200, true])
  expect(ready.json().checks).toContainEqual({
    name: 'key-encryption key',
    ok: false,
    detail: 'not usable; without it, secrets at store:// can be neither put nor used',
  })
  const put = await send('PUT', '/secret-refs/a/value', { value: 'CANARY-without-a-key', reason })
  expect([put.statusCode, put.json().code]).toEqual([503, 'secrets_unavailable'])
  expect(put.body).not.toContain('CANARY')
  expect((await send('PUT', '/secret-refs/a', { ref: 'store://a', reason })).statusCode).toBe(201)
  const { data } = (await send('GET', '/secret-refs/health')).json()
  expect(data).toMatchObject([{ name: 'a', resolves: false, why: 'there is no value in the store yet' }])
})
