import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { emptyDatabase, type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { newId } from '../ids.ts'
import { createLog } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { StartRefused } from '../start-refused.ts'
import { makeDatabaseRoles, requireServiceRole } from './database-roles.ts'
import { createDb, type Db, type DbOptions } from './db.ts'
import { checkSchema } from './migrate.ts'

let database: TestDatabase
let admin: Client
const login = `login_${newId().replaceAll('-', '')}`
const made = [`role_${login}_a`, `role_${login}_b`] as const
const opened: Db[] = []

const as = (user: string, url = database.url): string => {
  const target = new URL(url)
  target.username = user
  target.password = user
  return target.href
}
const open = (url: string, options: Partial<DbOptions> = {}): Db => {
  const log = createLog('test', 'silent')
  const on = { url, applicationName: 'roles', poolSize: 1, slowQueryMs: 9_999 }
  const db = createDb({ ...on, log, metrics: createMetrics('test', false), ...options })
  opened.push(db)
  return db
}
const query = async (db: Pick<Db, 'execute'>, text: string) =>
  (await db.execute<Record<string, unknown>>({ name: '', text }, [])).rows

beforeAll(async () => {
  database = await testDatabase()
  admin = new Client({ connectionString: inject('postgres').adminUrl })
  await admin.connect()
  await admin.query(`create role ${login} login noinherit password '${login}'`)
})
afterAll(async () => {
  for (const db of opened) await db.close()
  await database.drop()
  for (const role of [login, ...made]) await admin.query(`drop role if exists ${role}`)
  await admin.end()
})

async function owned(work: (client: Client) => Promise<unknown>, url = database.url): Promise<unknown> {
  const client = new Client({ connectionString: url })
  await client.connect()
  return work(client).finally(() => client.end())
}

describe('the roles', () => {
  test('that are missing are made by who may, who then may step down to them; a second time nothing happens', async () => {
    await owned((client) => makeDatabaseRoles(client, made))
    await owned((client) => makeDatabaseRoles(client, made))
    await owned(async (client) => {
      for (const role of made) await client.query(`set role ${role}`).then(() => client.query('reset role'))
    })
  })

  test('that are missing and cannot be made refuse the start with what an administrator has to run', async () => {
    const missing = [`role_${login}_never`]
    const refused = owned((client) => makeDatabaseRoles(client, missing), as(login))
    await expect(refused).rejects.toBeInstanceOf(StartRefused)
    await expect(refused).rejects.toThrow(
      `create role ${missing[0]} nologin;\n  grant ${missing[0]} to ${login};`,
    )
  })

  test('that are there are taken as they are by who may grant nothing', async () => {
    await owned((client) => makeDatabaseRoles(client), as(login))
  })
})

describe('a process', () => {
  test('is the service role on every connection, also after what would undo it', async () => {
    await requireServiceRole(database.db)
    expect(await query(database.db, 'select current_user as me')).toEqual([{ me: 'orchestrator_service' }])
    await query(database.db, 'reset role')
    await query(database.db, 'set session authorization default')
    expect(await query(database.db, 'select current_user as me')).toEqual([{ me: 'orchestrator_service' }])
  })

  test('whose login is no member is refused by name of the grant, and works with it without any right of its own', async () => {
    await expect(requireServiceRole(open(as(login)))).rejects.toThrow(
      /not a member.*\n {2}grant orchestrator_service, orchestrator_request to /,
    )
    await admin.query(`grant orchestrator_service to ${login}`)
    await expect(requireServiceRole(open(as(login)))).rejects.toThrow(`orchestrator_request to ${login};`)
    await admin.query(`grant orchestrator_request to ${login}`)
    const db = open(as(login))
    await requireServiceRole(db)
    await checkSchema({ db, log: database.platform.log })
    for (const way of ['set role orchestrator', 'set session authorization orchestrator'])
      await expect(query(db, way)).rejects.toThrow('permission denied')
    // Whoever drops the role on the way has a login that may nothing.
    const bare = open(as(login), { role: 'login' })
    await expect(requireServiceRole(bare)).rejects.toThrow(`not orchestrator_service but ${login}`)
    await expect(query(bare, 'select from workspace')).rejects.toThrow('permission denied')
  })

  test('on a database that gives it no rights yet is told to migrate', async () => {
    const empty = await emptyDatabase()
    await owned(
      (client) =>
        client.query('create table schema_migration (version int, name text, sha256 text, breaking bool)'),
      empty.url,
    )
    const db = open(empty.url)
    await expect(checkSchema({ db, log: database.platform.log })).rejects.toThrow('npx orchestrator migrate')
    await db.close()
    opened.splice(opened.indexOf(db), 1)
    await empty.drop()
  })
})
