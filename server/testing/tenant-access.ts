import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createEndedTokens } from '../src/features/ended-tokens/ended-tokens.ts'
import { AUDIENCES, PLANE_SCOPES, type Plane } from '../src/features/identities/identities.ts'
import { verifySession } from '../src/features/operators/operators.ts'
import { authorizationOf } from '../src/features/permissions/permissions.ts'
import {
  createAuthenticate,
  createWorkspace,
  createWorkspaceDirectory,
  type Workspace,
  type WorkspaceDirectory,
} from '../src/features/workspaces/workspaces.ts'
import { type Keys, openKeys } from '../src/platform/auth/keys.ts'
import type { VerifyToken } from '../src/platform/auth/principal.ts'
import { createVerifier, issueToken, type TokenRules } from '../src/platform/auth/tokens.ts'
import { createHttpServer, type HttpServer, type HttpServerOptions } from '../src/platform/http/server.ts'
import type { Log } from '../src/platform/log.ts'
import type { TestDatabase } from './database.ts'

const CONTROL_SCOPES = PLANE_SCOPES.control
/** The scopes that count on the plane with this audience. */
const scopesOf = (audience: string): readonly string[] =>
  PLANE_SCOPES[audience === AUDIENCES.exec ? 'exec' : 'control']

/** Who makes the changes of a test. */
export const CHANGE = {
  actor: 'svc:test',
  reason: 'a test',
  call: { requestId: 'request-1', correlationId: 'correlation-1', traceId: 'a'.repeat(32), traceparent: '' },
}

export interface TenantAccess {
  readonly rules: TokenRules
  readonly keys: Keys
  readonly directory: WorkspaceDirectory
  workspace(slug: string): Promise<Workspace>
  /** The value of an `Authorization` header: a real token, with both control scopes unless told otherwise. */
  bearer(
    tenantId: string,
    grant?: {
      scopes?: readonly string[]
      roles?: readonly string[]
      subject?: string
      /** What it was got by: as tokens of machines and of people have it, and those of `orchestrator token` do not. */
      sessionId?: string
    },
  ): Promise<string>
  /** A server with real authentication and no routes yet: of this plane, or with the rights of another one's routes. */
  server(options?: Pick<HttpServerOptions, 'admit' | 'tls'> & { plane?: Plane }): Promise<HttpServer>
  close(): Promise<void>
}

/** Workspaces, tokens and servers as a plane has them, for tests that go through HTTP. */
export async function tenantAccess(
  { db, platform }: TestDatabase,
  { audience = 'orchestrator-control', log = platform.log }: { audience?: string; log?: Log } = {},
): Promise<TenantAccess> {
  const { clock } = platform
  const folder = await mkdtemp(join(tmpdir(), 'orchestrator-test-keys-'))
  const rules = { issuer: 'orchestrator', audience, maxAgeSeconds: 3_600 }
  const keys = await openKeys({ folder, name: audience, maxTokenAgeSeconds: 3_600, clock, log })
  const directory = createWorkspaceDirectory({
    db,
    notifications: platform.notifications,
    log,
    environment: 'dev',
  })
  const ended = createEndedTokens(platform)
  const verifyToken = createVerifier({ keys, rules, clock, log })
  // As on control: the token of an operator's session is known by itself.
  const verify: VerifyToken = async (token) =>
    (await verifySession({ db, clock }, token)) ?? verifyToken(token)
  const servers: HttpServer[] = []
  return {
    rules,
    keys,
    directory,
    workspace: (slug) => createWorkspace({ db, environment: 'dev' }, { slug, name: slug }, CHANGE),
    bearer: async (
      tenantId,
      { scopes = CONTROL_SCOPES, roles = [], subject = 'svc:test', sessionId } = {},
    ) => {
      const bound = sessionId === undefined ? {} : { sessionId }
      const token = { subject, tenantId, scopes, roles, lifetimeSeconds: 300, ...bound }
      return `Bearer ${(await issueToken({ keys, rules, clock }, token)).token}`
    },
    server: async ({ plane, ...options } = {}) => {
      const app = await createHttpServer({
        ...options,
        log,
        metrics: platform.metrics,
        trustedProxies: [],
        bodyLimitBytes: 100_000,
        handlerTimeoutMs: 20_000,
        checks: [],
        access: {
          authenticate: createAuthenticate({ verify, directory, ended }),
          authorization: authorizationOf(plane ? PLANE_SCOPES[plane] : scopesOf(audience)),
        },
        openApi: { title: 'test', description: 'test', version: '1' },
      })
      servers.push(app)
      return app
    },
    close: async () => {
      await Promise.all(servers.map((app) => app.close()))
      ended.close()
      directory.close()
      keys.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
