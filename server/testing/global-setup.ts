import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import type { TestProject } from 'vitest/node'
import { migrate } from '../src/platform/db/migrate.ts'
import { startEmbeddedPostgres } from '../src/platform/embedded/embedded-postgres.ts'
import { lockHome } from '../src/platform/embedded/hub-lock.ts'
import { clearLeftovers } from '../src/platform/embedded/leftovers.ts'
import { createLog } from '../src/platform/log.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The one Postgres of this test run. */
    postgres: {
      /** Superuser, database `postgres`: makes and drops databases. */
      readonly adminUrl: string
      /** The role that owns the test databases, as in production not a superuser. Its database is empty. */
      readonly url: string
      /** Name of the migrated database that tests clone. Nobody can connect to it. */
      readonly template: string
    }
  }
}

const PREFIX = 'orchestrator-test-postgres-'
const YOUNG_MS = 60_000
const TEMPLATE = 'orchestrator_template'
const log = createLog('test', 'error')

/**
 * Starts one Postgres for the whole run, migrates the template and removes everything at the end. With the admin URL
 * of a throw-away server in `ORCH_TEST_POSTGRES` (`.ci/run` starts one of the oldest version) that one is used.
 */
export default async function startPostgresOfTheRun(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer(process.env.ORCH_TEST_POSTGRES)
  try {
    await makeTemplate(server.adminUrl, server.url)
  } catch (error) {
    await server.end()
    throw error
  }
  project.provide('postgres', { adminUrl: server.adminUrl, url: server.url, template: TEMPLATE })
  return server.end
}

interface Server {
  readonly adminUrl: string
  readonly url: string
  end(): Promise<void>
}

async function startServer(givenUrl: string | undefined): Promise<Server> {
  if (givenUrl !== undefined) return useGivenServer(givenUrl)
  await removeWhatKilledRunsLeft()
  const dataDir = await mkdtemp(join(tmpdir(), PREFIX))
  const server = await startEmbeddedPostgres({ dataDir, log, settings: { shared_buffers: '128MB' } })
  return {
    adminUrl: server.adminUrl,
    url: server.url,
    end: async () => {
      await server.stop()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

async function useGivenServer(adminUrl: string): Promise<Server> {
  const admin = new Client({ connectionString: adminUrl })
  await admin.connect()
  await admin.query(`create role orchestrator login createrole password 'orchestrator'`)
  await admin.query('create database orchestrator owner orchestrator')
  await admin.end()
  const url = new URL(adminUrl)
  url.username = url.password = 'orchestrator'
  url.pathname = '/orchestrator'
  return { adminUrl, url: url.href, end: async () => undefined }
}

async function makeTemplate(adminUrl: string, url: string): Promise<void> {
  const admin = new Client({ connectionString: adminUrl })
  await admin.connect()
  try {
    await admin.query(`create database ${TEMPLATE} owner orchestrator`)
    const target = new URL(url)
    target.pathname = `/${TEMPLATE}`
    await migrate({ url: target.href, log })
    // A database that somebody is connected to cannot be cloned.
    await admin.query(`alter database ${TEMPLATE} with is_template true allow_connections false`)
  } finally {
    await admin.end()
  }
}

/**
 * A run that was killed leaves its server and its folder; nobody holds the folder's lock any more. Young folders
 * are left alone: another run that is just starting may have made it and not locked it yet.
 */
async function removeWhatKilledRunsLeft(): Promise<void> {
  const left = (await readdir(tmpdir())).filter((name) => name.startsWith(PREFIX))
  for (const home of left.map((name) => join(tmpdir(), name))) {
    const folder = await stat(home).catch(() => undefined)
    if (folder?.uid !== process.getuid?.() || Date.now() - (folder?.birthtimeMs ?? 0) < YOUNG_MS) continue
    const lock = await lockHome(home).catch(() => undefined)
    if (!lock) continue
    try {
      await clearLeftovers(home, log)
      await rm(home, { recursive: true, force: true })
    } finally {
      lock.release()
    }
  }
}
