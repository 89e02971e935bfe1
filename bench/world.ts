import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { migrate } from '../server/src/platform/db/migrate.ts'
import { startEmbeddedPostgres } from '../server/src/platform/embedded/embedded-postgres.ts'
import { newId } from '../server/src/platform/ids.ts'
import { createLog } from '../server/src/platform/log.ts'
import { type RedisServers, startRedisServers } from './redis.ts'

/** The servers that all measurements share. */
export interface World {
  /** Removed at the end, or by the next bench when this one is killed. */
  readonly folder: string
  readonly redis: RedisServers['ports'] | undefined
  /** What the server says about its settings, for the report. */
  readonly settings: Readonly<Record<string, string>>
  /** A database of its own for one measurement; with our schema, or empty. */
  freshDatabase(ours: boolean): Promise<Database>
  /** Main processes of the servers that a participant uses. */
  serverPids(participant: string): number[]
  /** Processes of the servers: they are not strangers. */
  pids(): number[]
  close(): Promise<void>
}

interface Database {
  readonly databaseUrl: string
  readonly adminUrl: string
  drop(): Promise<void>
}

/** As in research/performance.md §0. Durability is the server's default; `settings` of the report prove it. */
const POSTGRES = { shared_buffers: '1GB', max_wal_size: '4GB' }
/** `all`: also what runs inside functions. */
const STATEMENT_TIMES = { shared_preload_libraries: 'pg_stat_statements', 'pg_stat_statements.track': 'all' }
const SHOWN = [
  'server_version',
  'fsync',
  'synchronous_commit',
  'full_page_writes',
  'wal_sync_method',
  'shared_buffers',
  'max_wal_size',
  'autovacuum',
]
const TEMPLATE = 'bench_template'
export const POSTGRES_PREFIX = 'orchestrator-bench-postgres-'

export async function startWorld(options: {
  readonly redisServer: string | undefined
  /** Has the server count its time by statement; costs some itself. */
  readonly statementTimes: boolean
}): Promise<World> {
  const log = createLog('bench', 'error')
  const dataDir = await mkdtemp(join(tmpdir(), POSTGRES_PREFIX))
  const settings = { ...POSTGRES, ...(options.statementTimes && STATEMENT_TIMES) }
  const postgres = await startEmbeddedPostgres({ dataDir, log, settings })
  const redis = options.redisServer === undefined ? undefined : await startRedisServers(options.redisServer)
  const urlOf = (name: string, base = postgres.url) => {
    const url = new URL(base)
    url.pathname = `/${name}`
    return url.href
  }
  await query(postgres.adminUrl, `create database ${TEMPLATE} owner orchestrator`)
  await migrate({ url: urlOf(TEMPLATE), log })
  const shown: Record<string, string> = {}
  for (const name of SHOWN) {
    const [row] = await query<Record<string, string>>(postgres.url, `show ${name}`)
    shown[name] = row?.[name] ?? ''
  }
  refuseUnsafe(shown)

  return {
    folder: dataDir,
    redis: redis?.ports,
    settings: shown,
    freshDatabase: async (ours) => {
      const name = `bench_${newId().replaceAll('-', '')}`
      const template = ours ? TEMPLATE : 'template0'
      await query(postgres.adminUrl, `create database ${name} template ${template} owner orchestrator`)
      // Every measurement starts at the same place of the write-ahead log: just after a checkpoint.
      await query(postgres.adminUrl, 'checkpoint')
      return {
        databaseUrl: urlOf(name),
        adminUrl: urlOf(name, postgres.adminUrl),
        drop: async () => {
          await query(postgres.adminUrl, `drop database ${name} with (force)`)
        },
      }
    },
    serverPids: (participant) => {
      if (participant === 'bullmq-always') return redis ? [redis.pids.always] : []
      if (participant === 'bullmq-everysec') return redis ? [redis.pids.everysec] : []
      return [postgres.pid]
    },
    pids: () => [process.pid, postgres.pid, ...Object.values(redis?.pids ?? {})],
    close: async () => {
      await redis?.stop()
      await postgres.stop()
      await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

function refuseUnsafe(settings: Readonly<Record<string, string>>): void {
  for (const name of ['fsync', 'synchronous_commit', 'full_page_writes'])
    if (settings[name] !== 'on')
      throw new Error(`Postgres runs with ${name} = ${settings[name]}: nothing is measured so`)
}

async function query<Row extends object>(connectionString: string, text: string): Promise<Row[]> {
  const client = new Client({ connectionString })
  await client.connect()
  try {
    return (await client.query<Row>(text)).rows
  } finally {
    await client.end()
  }
}
