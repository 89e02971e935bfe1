/**
 * The roles that processes step down to on every connection, whoever they log in as (docs/database.md). Roles belong
 * to the whole database server: another database's hub may have made them already.
 */
import type { Client } from 'pg'
import { StartRefused } from '../start-refused.ts'
import { one, type Queryable } from './statement.ts'

export const DATABASE_ROLES = {
  /** What a process is: rows of all tenants, no schema, no change of what is written once. */
  service: 'orchestrator_service',
  /** What a request of one tenant is: rows of the tenant that its transaction names. */
  request: 'orchestrator_request',
} as const

/** `login`: whoever the URL logs in as; for those who migrate, and for tests. */
export type DatabaseRole = keyof typeof DATABASE_ROLES | 'login'

/**
 * The session setting with which a connection begins in a role. As a setting of its start `reset role` and `discard all`
 * end up in it, too.
 */
export const roleSetting = (role: DatabaseRole): Readonly<Record<string, string>> =>
  role === 'login' ? {} : { role: DATABASE_ROLES[role] }

/** Settings of a session as the `options` of its start. */
export const startOptions = (session: Readonly<Record<string, string>>): string =>
  Object.entries(session)
    .map(([key, value]) => `-c ${key}=${value}`)
    .join(' ')

const INSUFFICIENT_PRIVILEGE = '42501'
const DUPLICATE_OBJECT = '42710'
const UNIQUE_VIOLATION = '23505'
const INVALID_PARAMETER_VALUE = '22023'
/** Since Postgres 16, being a member and being allowed to step down are two rights. */
const RIGHT = `case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end`

const codeOf = (error: unknown): unknown => (error as { code?: unknown } | null)?.code

/** What an administrator runs who makes the roles by hand. */
const byHand = (roles: readonly string[], member: string): string =>
  [
    ...roles.map((role) => `  create role ${role} nologin;`),
    `  grant ${roles.join(', ')} to ${member};`,
  ].join('\n')

/**
 * Makes the roles that are missing and makes the caller a member where it may. Throws StartRefused with the SQL for an
 * administrator when a role is missing and cannot be made.
 */
export async function makeDatabaseRoles(
  client: Client,
  roles: readonly string[] = Object.values(DATABASE_ROLES),
): Promise<void> {
  for (const role of roles) {
    const found = await client.query('select from pg_roles where rolname = $1', [role])
    if (found.rowCount === 0) await createRole(client, role, roles)
    const member = await client.query<{ may: boolean }>(`select pg_has_role($1, ${RIGHT}) as may`, [role])
    // Who may not grant it may not need it: the processes can log in as somebody else. They look for themselves.
    if (!member.rows[0]?.may)
      await client
        .query(`grant ${client.escapeIdentifier(role)} to current_user`)
        .catch(unless(INSUFFICIENT_PRIVILEGE))
  }
}

async function createRole(client: Client, role: string, roles: readonly string[]): Promise<void> {
  try {
    await client.query(`create role ${client.escapeIdentifier(role)} nologin`)
  } catch (error) {
    // Somebody else was faster.
    if (codeOf(error) !== INSUFFICIENT_PRIVILEGE) return unless(DUPLICATE_OBJECT, UNIQUE_VIOLATION)(error)
    const { rows } = await client.query<{ login: string }>('select quote_ident(current_user) as login')
    throw noRights(roles, rows[0]?.login ?? '')
  }
}

const unless =
  (...codes: readonly string[]) =>
  (error: unknown): void => {
    if (!codes.includes(String(codeOf(error)))) throw error
  }

const noRights = (roles: readonly string[], login: string): StartRefused =>
  new StartRefused(
    `The database roles of Orchestrator are missing, and ${login} may not make roles. Let an administrator of the database run:\n${byHand(roles, login)}\nor \`alter role ${login} createrole\`. Then start again (docs/database.md).`,
  )

interface Place {
  readonly role: string
  readonly login: string
  readonly serves_requests: boolean
}

const whereAmI = one<undefined, Place>(
  'roles.where_am_i',
  `select current_user as role, quote_ident(session_user) as login,
          pg_has_role(session_user, '${DATABASE_ROLES.request}', ${RIGHT}) as serves_requests`,
  () => [],
)

/**
 * Checks that the connections of a process are what they must be: the service role, whose login may also step down to
 * the request role. Throws StartRefused with what an administrator has to run, and the driver's error for the rest.
 */
export async function requireServiceRole(db: Queryable): Promise<void> {
  const { role, login, serves_requests } = await whereAmI(db, undefined).catch((error: unknown) => {
    throw refusalOfRole(error) ?? error
  })
  if (role !== DATABASE_ROLES.service)
    throw new StartRefused(
      `The database connection of ${login} is not ${DATABASE_ROLES.service} but ${role}: something on the way (a pooler, \`options\` in DATABASE_URL) drops the settings with which a connection starts. Let it pass on \`options\` (docs/database.md).`,
    )
  if (!serves_requests) throw notAMember(login)
}

const notAMember = (login: string): StartRefused =>
  new StartRefused(
    `The login of DATABASE_URL is not a member of the database roles of Orchestrator. Let an administrator of the database run:\n  grant ${Object.values(DATABASE_ROLES).join(', ')} to ${login};`,
  )

/** What a connection that cannot begin in its role means; undefined for any other failure. */
export function refusalOfRole(error: unknown): StartRefused | undefined {
  const { message } = (error ?? {}) as { message?: string }
  if (codeOf(error) === INSUFFICIENT_PRIVILEGE && /set role/.test(message ?? ''))
    return notAMember('that login')
  if (codeOf(error) === INVALID_PARAMETER_VALUE && /role .* does not exist/.test(message ?? ''))
    return new StartRefused(
      'The database roles of Orchestrator are not there yet: run `npx orchestrator migrate` with the URL of the owner first (docs/database.md).',
    )
  return undefined
}
