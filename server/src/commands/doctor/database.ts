import { Client } from 'pg'
import type { Config } from '../../config.ts'
import { refusalOfRole, roleSetting, startOptions } from '../../platform/db/database-roles.ts'
import { readMigrations } from '../../platform/db/migrate-files.ts'
import type { Finding } from './finding.ts'

const MAX_SKEW_MS = 2_000
const MIN_VERSION = 150_000

interface ServerFacts {
  readonly version: string
  readonly version_number: number
  readonly now_ms: number
  readonly migrated: boolean
}

const FACTS = `
  select current_setting('server_version') as version,
         current_setting('server_version_num')::int as version_number,
         extract(epoch from clock_timestamp())::float8 * 1000 as now_ms,
         to_regclass('schema_migration') is not null as migrated`

async function findings(client: Client): Promise<readonly Finding[]> {
  const askedAt = Date.now()
  const { rows } = await client.query<ServerFacts>(FACTS)
  const facts = rows[0] as ServerFacts
  // Half of the round trip has passed when the server looks at its clock.
  const skew = Math.abs((askedAt + Date.now()) / 2 - facts.now_ms)
  const known = await readMigrations()
  const applied = facts.migrated
    ? (await client.query('select version from schema_migration')).rows.length
    : 0
  return [
    {
      name: 'database',
      ok: facts.version_number >= MIN_VERSION,
      detail: `Postgres ${facts.version}`,
      mend: 'Orchestrator needs Postgres 15 or newer.',
    },
    {
      name: 'clock',
      ok: skew <= MAX_SKEW_MS,
      detail: `${Math.round(skew)} ms apart from the database's`,
      mend: 'Let both machines take their time from NTP: tokens and signatures are checked against this clock.',
    },
    {
      name: 'schema',
      ok: applied >= known.length,
      detail: `${applied} of ${known.length} migrations applied`,
      mend: 'Run `npx orchestrator migrate`.',
    },
  ]
}

/** The database of DATABASE_URL: reachable, of a version that works, migrated, and of our time. */
export async function checkClockAndDatabase(config: Config): Promise<readonly Finding[]> {
  if (config.databaseUrl === undefined)
    return [{ name: 'database', ok: true, detail: 'embedded: `orchestrator start` runs and migrates it' }]
  const client = new Client({
    connectionString: config.databaseUrl,
    connectionTimeoutMillis: 5_000,
    application_name: 'orchestrator doctor',
    // As the processes are: their login may nothing by itself.
    options: startOptions(roleSetting('service')),
  })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return await findings(client)
  } catch (error) {
    const roles = refusalOfRole(error)
    if (roles)
      return [{ name: 'roles', ok: false, detail: 'the processes cannot step down', mend: roles.message }]
    const { code } = error as { code?: string }
    return [
      {
        name: 'database',
        ok: false,
        detail: `cannot be used (${code ?? 'no answer'})`,
        mend: 'Check host, port, user, password and database in DATABASE_URL, and that the server runs.',
      },
    ]
  } finally {
    await client.end().catch(() => undefined)
  }
}
