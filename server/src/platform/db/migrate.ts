import { Client, DatabaseError } from 'pg'
import type { Log } from '../log.ts'
import { StartRefused } from '../start-refused.ts'
import { DATABASE_ROLES, makeDatabaseRoles } from './database-roles.ts'
import { isUnavailable } from './failures.ts'
import { type Migration, readMigrations } from './migrate-files.ts'
import { type AppliedMigration, planMigrations } from './migrate-plan.ts'
import { many, type Queryable } from './statement.ts'

const OLDEST_POSTGRES = 15
const UNDEFINED_TABLE = '42P01'
const INSUFFICIENT_PRIVILEGE = '42501'
/** A migration that waits for a table lock holds up everybody behind it, so it gives up and is run again later. */
const LOCK_TIMEOUT_MS = 15_000

const CREATE_TABLE = `
  create table if not exists schema_migration (
    version int primary key,
    name text not null,
    sha256 text not null,
    breaking boolean not null,
    applied_at timestamptz not null default now()
  );
  grant select on schema_migration to ${DATABASE_ROLES.service}`
const SELECT_APPLIED = 'select version, name, sha256, breaking from schema_migration order by version'

interface MigrateOptions {
  /** A direct connection: the session lock does not survive a pooler in transaction mode. */
  readonly url: string
  readonly log: Log
  readonly directory?: string
}

/**
 * Brings the database up to the code's schema, forward only; each file runs in one transaction with its row in
 * `schema_migration`. Several callers may run at once: one works, the others wait and then find nothing to do.
 * Gives the files it applied. Throws StartRefused with the reason, then everything before the failed file stays.
 */
export async function migrate(options: MigrateOptions): Promise<{ applied: string[] }> {
  const known = await readMigrations(options.directory)
  return connected(options.url, async (client) => {
    await refuseUnfitServer(client)
    await lockAgainstOthers(client, options.log)
    await makeDatabaseRoles(client)
    await client.query(CREATE_TABLE)
    const { rows } = await client.query<AppliedMigration>(SELECT_APPLIED)
    const { pending, newer } = planMigrations(known, rows)
    warnOfNewer(newer, options.log)
    for (const migration of pending) {
      await apply(client, migration)
      options.log.info({ migration: migration.file }, 'migration applied')
    }
    if (pending.length > 0) await analyzeFilledTables(client)
    return { applied: pending.map(({ file }) => file) }
  })
}

/**
 * Without statistics the first plans on filled tables are guesses, and prepared statements keep them. An empty
 * table is left alone: for one that was never analysed the planner assumes ten pages and uses indexes well, for
 * one that it knows to be empty every plan costs the same.
 */
async function analyzeFilledTables(client: Client): Promise<void> {
  await client.query('set lock_timeout = 0')
  const { rows } = await client.query<{ statement: string }>(
    `select format('analyze %s', oid::regclass) as statement from pg_class
     where relnamespace = current_schema()::regnamespace and relkind = 'r' and pg_relation_size(oid) > 0`,
  )
  for (const { statement } of rows) await client.query(statement)
}

const selectApplied = many<undefined, AppliedMigration>('migrations.applied', SELECT_APPLIED, () => [])

/**
 * For a process that starts on a database it does not migrate. Throws StartRefused when the schema is older than
 * the code, or newer with breaking changes; a newer one without is fine (that is how rolling updates work).
 */
export async function checkSchema(options: {
  readonly db: Queryable
  readonly log: Log
  readonly directory?: string
}): Promise<void> {
  const known = await readMigrations(options.directory)
  const applied = await selectApplied(options.db, undefined).catch((error: unknown) => {
    if (error instanceof DatabaseError && error.code === UNDEFINED_TABLE) return []
    if (error instanceof DatabaseError && error.code === INSUFFICIENT_PRIVILEGE)
      throw new StartRefused(
        "The database's schema gives the processes no rights, so it is older than this version of Orchestrator: run `npx orchestrator migrate`.",
        { cause: error },
      )
    throw error
  })
  const { pending, newer } = planMigrations(known, applied)
  warnOfNewer(newer, options.log)
  const [first] = pending
  if (first)
    throw new StartRefused(
      `The database's schema is older than this version of Orchestrator (${pending.length} migrations are missing, the first is ${first.file}): run \`npx orchestrator migrate\`.`,
    )
}

async function connected<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({
    connectionString: url,
    application_name: 'orchestrator migrate',
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  })
  let lost: Error | undefined
  client.on('error', (error) => {
    lost = error
  })
  const unusable = (error: unknown): StartRefused => {
    const { message, code } = error as { message: string; code?: string }
    // Only host, port and name: the URL holds the password. Node's error for several addresses has no message.
    const place = `${client.host}:${client.port}/${client.database ?? ''}`
    return new StartRefused(`The database at ${place} cannot be used: ${message || code}.`, { cause: error })
  }
  try {
    await client.connect().catch((error: unknown) => {
      throw unusable(error)
    })
    return await work(client)
  } catch (error) {
    throw lost || isUnavailable(error) ? unusable(lost ?? error) : error
  } finally {
    await client.end().catch(() => undefined)
  }
}

async function refuseUnfitServer(client: Client): Promise<void> {
  const { rows } = await client.query<{ version: number; encoding: string }>(
    "select current_setting('server_version_num')::int / 10000 as version, current_setting('server_encoding') as encoding",
  )
  const [server] = rows
  if (server && server.version < OLDEST_POSTGRES)
    throw new StartRefused(
      `The database server is Postgres ${server.version}: Orchestrator needs ${OLDEST_POSTGRES} or newer.`,
    )
  if (server && server.encoding !== 'UTF8')
    throw new StartRefused(
      `The database's encoding is ${server.encoding}: create it with \`create database … encoding 'UTF8' template template0\`.`,
    )
}

async function lockAgainstOthers(client: Client, log: Log): Promise<void> {
  // The database or the role may have short limits for queries; waiting here and a big migration may take long.
  await client.query('set statement_timeout = 0')
  await client.query('set idle_in_transaction_session_timeout = 0')
  const key = "hashtext('orchestrator.migrate')"
  const { rows } = await client.query<{ locked: boolean }>(`select pg_try_advisory_lock(${key}) as locked`)
  if (rows[0]?.locked !== true) {
    log.info('another process is migrating this database: waiting for it')
    await client.query('set lock_timeout = 0')
    await client.query(`select pg_advisory_lock(${key})`)
  }
  await client.query(`set lock_timeout = ${LOCK_TIMEOUT_MS}`)
}

async function apply(client: Client, migration: Migration): Promise<void> {
  const transaction = async () =>
    (await client.query<{ id: string }>('select pg_current_xact_id()::text as id')).rows[0]?.id
  await client.query('begin')
  try {
    const before = await transaction()
    await client.query(migration.sql)
    if ((await transaction()) !== before)
      throw new StartRefused(`Migration ${migration.file} must not end its transaction itself.`)
    await client.query(
      'insert into schema_migration (version, name, sha256, breaking) values ($1, $2, $3, $4)',
      [migration.version, migration.name, migration.sha256, migration.breaking],
    )
    await client.query('commit')
  } catch (error) {
    await client.query('rollback').catch(() => undefined)
    if (error instanceof DatabaseError) throw failed(migration, error)
    throw error
  }
}

function failed({ file, sql }: Migration, error: DatabaseError): StartRefused {
  const line = error.position ? `, line ${sql.slice(0, Number(error.position)).split('\n').length}` : ''
  return new StartRefused(`Migration ${file}${line} failed and was rolled back: ${error.message}.`, {
    cause: error,
  })
}

function warnOfNewer(newer: readonly AppliedMigration[], log: Log): void {
  if (newer.length > 0)
    log.warn(
      { migrations: newer.map(({ version, name }) => `${version}_${name}`) },
      'the database has newer migrations than this version; none of them is breaking',
    )
}
