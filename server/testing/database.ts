import { setTimeout as delay } from 'node:timers/promises'
import { Client, DatabaseError } from 'pg'
import { inject } from 'vitest'
import { type Clock, type Random, systemClock, systemRandom } from '../src/platform/clock.ts'
import { createDb, type Db } from '../src/platform/db/db.ts'
import { createNotifications } from '../src/platform/db/notifications.ts'
import { createRequestDb } from '../src/platform/db/request-db.ts'
import { newId } from '../src/platform/ids.ts'
import { createLog, type Log } from '../src/platform/log.ts'
import { createMetrics } from '../src/platform/metrics.ts'
import type { Platform } from '../src/platform/platform.ts'

export interface TestDatabase {
  /** Of the clone, as its owner (not a superuser): for real processes that the test starts. */
  readonly url: string
  /** As the processes have it: the service role. */
  readonly db: Db
  /** As the owner of the schema: for what no process may do (truncate, drop, break). */
  readonly owner: Db
  readonly platform: TestPlatform
  /** Closes the platform's connections and removes the database, whoever is still connected. */
  drop(): Promise<void>
}

export interface TestPlatform extends Platform {
  readonly owner: Db
  /** As the requests of a plane have it: sees the workspace of the request that uses it. */
  readonly requestDb: Db
}

interface TestDatabaseOptions {
  readonly clock?: Clock
  readonly random?: Random
  readonly log?: Log
  readonly poolSize?: number
}

/** A fresh database with the whole schema. One for each test file, in `beforeAll`; `drop` in `afterAll`. */
export async function testDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const { template } = inject('postgres')
  const { url, drop: dropDatabase } = await createDatabase(template)
  const platform = testPlatform(url, options)
  return {
    url,
    db: platform.db,
    owner: platform.owner,
    platform,
    drop: async () => {
      await platform.notifications.close()
      await platform.db.close()
      await platform.owner.close()
      await platform.requestDb.close()
      await dropDatabase()
    },
  }
}

/** A database without our schema: for tests of the migrations themselves. */
export const emptyDatabase = (): Promise<{ url: string; drop(): Promise<void> }> =>
  createDatabase('template0')

/**
 * A real platform on a database, with the roles of the processes; silent, and without the metrics of the runtime, which
 * are global timers.
 */
export function testPlatform(url: string, options: TestDatabaseOptions = {}): TestPlatform {
  const log = options.log ?? createLog('test', 'silent')
  const metrics = createMetrics('test', false)
  const applicationName = 'test'
  const on = { url, applicationName, slowQueryMs: 60_000, log, metrics }
  return {
    log,
    metrics,
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
    db: createDb({ ...on, poolSize: options.poolSize ?? 10 }),
    requestDb: createRequestDb({ ...on, applicationName: 'test requests', poolSize: 5 }),
    owner: createDb({ ...on, applicationName: 'test owner', poolSize: 2, role: 'login' }),
    notifications: createNotifications({ url, applicationName, log }),
  }
}

async function createDatabase(template: string): Promise<{ url: string; drop(): Promise<void> }> {
  const { url } = inject('postgres')
  const name = `test_${newId().replaceAll('-', '')}`
  const target = new URL(url)
  target.pathname = `/${name}`
  await asAdmin((admin) => cloneWhenFree(admin, name, template))
  return {
    url: target.href,
    drop: () =>
      asAdmin(async (admin) => {
        await admin.query(`drop database ${name} with (force)`)
      }),
  }
}

const OBJECT_IN_USE = '55006'
const ATTEMPTS = 50

/** Postgres clones one template for several at once, but not while autovacuum looks into it: then wait and ask again. */
async function cloneWhenFree(admin: Client, name: string, template: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1)
    try {
      await admin.query(`create database ${name} template ${template} owner orchestrator`)
      return
    } catch (error) {
      const inUse = error instanceof DatabaseError && error.code === OBJECT_IN_USE
      if (!inUse || attempt === ATTEMPTS) throw error
      await delay(100)
    }
}

async function asAdmin(work: (admin: Client) => Promise<void>): Promise<void> {
  const admin = new Client({ connectionString: inject('postgres').adminUrl })
  await admin.connect()
  try {
    await work(admin)
  } finally {
    await admin.end()
  }
}
