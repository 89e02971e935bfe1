import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../src/config.ts'
import { insertSession, insertToken } from '../src/features/break-glass/break-glass.sql.ts'
import { newToken, sha256 } from '../src/features/break-glass/emergency-token.ts'
import { toOperator } from '../src/features/operators/account.ts'
import { insertOperator } from '../src/features/operators/accounts.sql.ts'
import type { Operator } from '../src/features/operators/operators.ts'
import { grantPlatformRole } from '../src/features/operators/roles.sql.ts'
import { confirmPending, setPending } from '../src/features/operators/second-factor.sql.ts'
import type { PlatformRole } from '../src/features/permissions/permissions.ts'
import { createWorkspace } from '../src/features/workspaces/workspaces.ts'
import { newId } from '../src/platform/ids.ts'
import { createLog } from '../src/platform/log.ts'
import { BUILDERS } from '../src/processes/one.ts'
import { issueOperatorToken } from '../src/processes/operator-token.ts'
import { stopInOrder } from '../src/processes/runtime.ts'
import { memoryNodeStore } from '../src/processes/shared-store.ts'
import { testDatabase } from './database.ts'
import { CHANGE } from './tenant-access.ts'

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** The control process with both of its listeners, people on it, and emergency sessions that live. */
export async function emergencyHub() {
  const database = await testDatabase()
  const { db } = database
  const folder = await mkdtemp(join(tmpdir(), 'orchestrator-emergency-'))
  const log = createLog('emergency-hub', 'silent')
  const config = loadConfig({ DATA_DIR: folder, DATABASE_URL: database.url, BREAK_GLASS_PORT: '1' })
  const environment = { config, databaseUrl: database.url, log, sharedStore: memoryNodeStore() }
  const { app: ordinary, listeners = [], stopSteps } = await BUILDERS.control(environment)
  const app = listeners[0]?.app
  if (!app) throw new Error('the control process has no listener for emergencies')
  await ordinary.ready()
  await app.ready()

  const send = async (on: typeof app, token: string, method: Method, url: string, body?: object) => {
    const headers = { authorization: `Bearer ${token}` }
    const answer = await on.inject({ method, url, headers, ...(body && { payload: body }) })
    return { status: answer.statusCode, body: answer.body === '' ? {} : answer.json() }
  }
  const person = async (role: PlatformRole): Promise<Operator> => {
    const id = newId()
    const row = { id, email: `${id}@example.com`, name: 'Somebody', passwordHash: null }
    const made = toOperator(await insertOperator(db, row))
    // Its bytes are never opened: it is there to be taken away.
    await setPending(db, { operatorId: id, sealed: Buffer.from('sealed') })
    await confirmPending(db, { operatorId: id, sealed: Buffer.from('sealed'), step: 1 })
    await grantPlatformRole(db, { operatorId: id, workspaceId: null, role, by: 'a test' })
    return made
  }

  return {
    db,
    query: async (text: string, values: readonly unknown[] = []) =>
      (await db.execute({ name: '', text }, values)).rows,
    workspace: async (slug: string) =>
      (await createWorkspace({ db, environment: 'dev' }, { slug, name: slug }, CHANGE)).id,
    person,
    /** On the ordinary listener, with these roles. */
    as: async (roles: readonly string[], tenantId: string, method: Method, url: string, body?: object) => {
      const token = { plane: 'control', tenantId, scopes: [], roles, subject: 'operator:boss' } as const
      return send(
        ordinary,
        await issueOperatorToken(config, { ...token, lifetimeSeconds: 600 }),
        method,
        url,
        body,
      )
    },
    asAdmin: async (method: Method, url: string, body?: object) => {
      const token = { plane: 'control', scopes: [], platformAdmin: true, subject: 'operator:boss' } as const
      return send(
        ordinary,
        await issueOperatorToken(config, { ...token, lifetimeSeconds: 600 }),
        method,
        url,
        body,
      )
    },
    /** A session of somebody new, with a token for one workspace or, for now, for none. */
    opened: async (workspaceId: string | null = null) => {
      const who = await person('break_glass_admin')
      const { subject } = who
      const told = { reason: 'the queue stands still', ticket: 'INC-7', ip: '127.0.0.1' }
      const session = { id: newId(), environment: 'dev', subject, ...told, seconds: 1_800 } as const
      const { id, expires_at } = await insertSession(db, session)
      const token = newToken().reveal()
      await insertToken(db, { sha256: sha256(token), sessionId: id, workspaceId })
      const call = (method: Method, url: string, body?: object) => send(app, token, method, url, body)
      return { who, id, token, expiresAt: expires_at.toISOString(), call }
    },
    /** The listener of emergencies on a port of its own. */
    listen: () => app.listen({ host: '127.0.0.1', port: 0 }),
    close: async () => {
      await stopInOrder(log, 5_000, [
        ['emergencies', () => app.close()],
        ['server', () => ordinary.close()],
        ...stopSteps,
      ])
      await database.drop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export type EmergencyHub = Awaited<ReturnType<typeof emergencyHub>>
