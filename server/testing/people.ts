import { randomBytes } from 'node:crypto'
import { toOperator } from '../src/features/operators/account.ts'
import { insertOperator } from '../src/features/operators/accounts.sql.ts'
import type { OidcProvider } from '../src/features/operators/oidc-provider.ts'
import {
  createPasswords,
  createSignOnLimits,
  type Operator,
  type OperatorDeps,
  type OperatorRole,
} from '../src/features/operators/operators.ts'
import { grantRole } from '../src/features/operators/roles.ts'
import { totpAt } from '../src/features/operators/totp.ts'
import { envKeys } from '../src/platform/envelope/env-keys.ts'
import { openEnvelope } from '../src/platform/envelope.ts'
import type { HttpServer } from '../src/platform/http/server.ts'
import { newId } from '../src/platform/ids.ts'
import { Secret } from '../src/platform/secret.ts'
import { capturedLog } from './captured-log.ts'
import { testDatabase } from './database.ts'
import { manualClock } from './manual-clock.ts'
import { CHANGE, type TenantAccess, tenantAccess } from './tenant-access.ts'

export const PASSWORD = 'a staple of nine horses'
/** Real argon2id, cheap enough to be guessed at thousands of times. */
const CHEAP = { memoryCost: 64, timeCost: 1, parallelism: 1 }

export interface Answer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever an answer has.
  readonly body: any
}

export interface Person {
  readonly operator: Operator
  readonly email: string
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
export function bytesOfBase32(text: string): Buffer {
  const bits = [...text].map((letter) => BASE32.indexOf(letter).toString(2).padStart(5, '0')).join('')
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)))
}

/** What the routes about people need, all together. */
export type PeopleRoutes = TenantAccess & OperatorDeps & { readonly provider: OidcProvider | undefined }

/** The routes about people on a real database, with a clock that the test moves. */
export async function people(
  addRoutes: (app: HttpServer, deps: PeopleRoutes) => void,
  { provider }: { readonly provider?: (deps: OperatorDeps) => OidcProvider } = {},
) {
  const clock = manualClock(Date.now())
  const captured = capturedLog()
  const database = await testDatabase({ clock, log: captured.log })
  const { db, platform } = database
  const access: TenantAccess = await tenantAccess(database)
  const current = new Secret(randomBytes(32).toString('base64'))
  const deps: OperatorDeps = {
    db,
    clock,
    envelope: openEnvelope({ keys: envKeys({ current, previous: [], where: 'KEK' }) }),
    passwords: createPasswords({ cost: CHEAP }),
    limits: createSignOnLimits({ clock }),
  }
  const app = await access.server()
  const routes = { ...access, ...deps, provider: provider?.(deps) }
  addRoutes(app, routes)
  await app.ready()

  const call = async (
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    { body, token, ip }: { readonly body?: unknown; readonly token?: string; readonly ip?: string } = {},
  ): Promise<Answer> => {
    const answer = await app.inject({
      method,
      url,
      ...(body !== undefined && { payload: body as object }),
      ...(ip !== undefined && { remoteAddress: ip }),
      ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
    })
    return { status: answer.statusCode, body: answer.json() }
  }

  /** The code of an app that has this secret, now. */
  const codeOf = (secret: string, shiftMs = 0): string => totpAt(bytesOfBase32(secret), clock.now() + shiftMs)

  let count = 0
  const person = async (...roles: OperatorRole[]): Promise<Person> => {
    count += 1
    const email = `person-${count}@example.com`
    const passwordHash = await deps.passwords.hash(new Secret(PASSWORD))
    const operator = await db.transaction(async (tx) => {
      const row = { id: newId(), email, name: `Person ${count}`, passwordHash }
      const made = toOperator(await insertOperator(tx, row))
      for (const role of roles) await grantRole(tx, clock, made, role, { by: 'a test', change: CHANGE })
      return made
    })
    return { operator, email }
  }

  /** Signs on, with a second factor that is enrolled on the way. Gives the token of the session and the app's secret. */
  const enrolled = async (who: Person): Promise<{ token: string; secret: string; codes: string[] }> => {
    const login = await call('POST', '/auth/login', { body: { email: who.email, password: PASSWORD } })
    const token: string = login.body.session_token
    const { secret } = (await call('POST', '/auth/totp', { body: {}, token })).body
    const confirmed = await call('POST', '/auth/totp/confirm', { body: { code: codeOf(secret) }, token })
    if (confirmed.status !== 200) throw new Error(JSON.stringify(confirmed.body))
    await clock.advance(30_000)
    return { token: confirmed.body.session_token, secret, codes: confirmed.body.recovery_codes }
  }

  return {
    /** The key-encryption key. */
    key: current,
    clock,
    captured,
    database,
    db,
    platform,
    access,
    deps,
    call,
    codeOf,
    person,
    enrolled,
    query: async <Row extends object>(text: string, values: readonly unknown[] = []) =>
      (await db.execute<Row>({ name: '', text }, values)).rows,
    close: async () => {
      await access.close()
      await deps.limits.close()
      await database.drop()
    },
  }
}

export type PeopleHub = Awaited<ReturnType<typeof people>>
