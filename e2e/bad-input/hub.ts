/** The planes as their processes build them, on real sockets over one test database, with two of every token. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../server/src/config.ts'
import { createPasswords, createSignOnLimits } from '../../server/src/features/operators/operators.ts'
import { issueToken } from '../../server/src/platform/auth/tokens.ts'
import { systemClock } from '../../server/src/platform/clock.ts'
import { createLog } from '../../server/src/platform/log.ts'
import { startTracing } from '../../server/src/platform/telemetry/tracing.ts'
import { openProcessEnvelope } from '../../server/src/processes/envelope.ts'
import { BUILDERS } from '../../server/src/processes/one.ts'
import {
  issueOperatorToken,
  type OperatorToken,
  openPlaneKeys,
  type Plane,
} from '../../server/src/processes/operator-token.ts'
import { tokenRules } from '../../server/src/processes/plane.ts'
import { type BuiltProcess, stopInOrder } from '../../server/src/processes/runtime.ts'
import { memoryNodeStore } from '../../server/src/processes/shared-store.ts'
import { deadJob } from '../../server/testing/dead-letters.ts'
import { unknownExecution } from '../../server/testing/execution-keys.ts'
import { startIdentityProvider } from '../../server/testing/identity-provider.ts'
import { planWork, runAllPlans } from '../../server/testing/inbox-plans.ts'
import { missingWebhook } from '../../server/testing/missing-webhook.ts'
import { makePeople, type People } from '../../server/testing/people-of-a-workspace.ts'
import { type QueueFixture, queueFixture } from '../../server/testing/queue-fixture.ts'
import { type Answer, type OpenApi, send, type Wire } from './wire.ts'

/** In an order in which the good requests of all of them succeed: control's remove what the others need. */
export const SERVERS = ['exec', 'ingress', 'control'] as const
export type ServerName = (typeof SERVERS)[number]

/** Above the longest lists that the schemas allow, so that one more is a fault of its own. */
export const BODY_LIMIT = 500_000

/** Of no connector: nothing else waits there. */
const LANE_OF_THE_DEAD = 1_000

/** Nobody is there; the browser of the tests only reads where it is sent. */
const CALLBACK = 'http://console.test/auth/callback'

const PORTS = ['CONTROL', 'EXEC', 'INGRESS', 'WORKER']

export interface BadInputHub {
  readonly database: QueueFixture
  readonly documents: Readonly<Record<ServerName, OpenApi>>
  /** `METHOD /path` of everything that the router of a server answers, hidden routes included. */
  readonly routes: Readonly<Record<ServerName, readonly string[]>>
  readonly urls: Readonly<Record<ServerName, string>>
  /** Lines that the servers logged at the level error. */
  readonly errors: readonly string[]
  /** Texts that no answer may hold: where the hub runs and where its things are. */
  readonly internals: readonly string[]
  send(server: ServerName, wire: Wire): Promise<Answer>
  /** The value of an `Authorization` header. */
  token(wanted: Omit<OperatorToken, 'lifetimeSeconds'>): Promise<string>
  /** The same, with the very keys of the plane, for a time that is over. */
  expiredToken(plane: Plane, tenantId: string, scopes: readonly string[]): Promise<string>
  /** Gives up a job as a worker does after its last attempt; its id. */
  deadJob(job: Parameters<typeof deadJob>[1]): Promise<string>
  /** As a worker does: what plans over webhook inboxes are about. */
  searchInboxPlans(): Promise<void>
  /** One whose outcome nobody knows. */
  unknownExecution(tenantId: string): Promise<string>
  /** As the check of a route finds it. */
  missingWebhook(of: Parameters<typeof missingWebhook>[1]): Promise<string>
  writeSecret(slug: string, name: string, value: string): Promise<void>
  /** A person for each thing that is done to people. */
  people(workspaceId: string, name: string): Promise<People>
  /** The query with which the identity provider sends somebody back who has an account. */
  oidcReturn(email: string): Promise<Readonly<Record<string, string>>>
  /** Stops the servers as a graceful stop does: what they hold in memory is written. */
  stop(): Promise<void>
  /** Stops and removes everything. */
  end(): Promise<void>
}

export async function startHub(): Promise<BadInputHub> {
  const stopTracing = startTracing({ serviceName: 'bad-input' })
  const database = await queueFixture()
  const folder = await mkdtemp(join(tmpdir(), 'orchestrator-bad-input-'))
  const errors: string[] = []
  const log = createLog('bad-input', 'error', { write: (line) => void errors.push(line) })
  const identityProvider = await startIdentityProvider(CALLBACK)
  const config = loadConfig({
    OIDC_ISSUER: identityProvider.issuer,
    OIDC_CLIENT_ID: identityProvider.clientId,
    OIDC_CLIENT_SECRET: identityProvider.clientSecret,
    OIDC_REDIRECT_URL: CALLBACK,
    DATA_DIR: folder,
    DATABASE_URL: database.url,
    API_BODY_LIMIT_BYTES: String(BODY_LIMIT),
    WEBHOOK_BODY_LIMIT_BYTES: String(BODY_LIMIT),
    // Nobody listens there: the status page must not ask a hub that happens to run on this machine.
    ...Object.fromEntries(PORTS.map((name) => [`${name}_URL`, 'http://127.0.0.1:1'])),
  })
  const environment = { config, databaseUrl: database.url, log, sharedStore: memoryNodeStore() }
  const built = new Map<ServerName, BuiltProcess>()
  for (const name of SERVERS) built.set(name, await BUILDERS[name](environment))

  const urls = await eachServer(built, async ({ app }) => {
    await app.listen({ host: '127.0.0.1', port: 0 })
    return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  })
  const routes = await eachServer(built, async ({ app }) =>
    printedRoutes(app.printRoutes({ commonPrefix: false })),
  )
  const ask = (server: ServerName, wire: Wire): Promise<Answer> => send(urls[server], wire)
  const documents = await eachServer(built, async ({ name }) => {
    const { text } = await ask(name as ServerName, { method: 'GET', path: '/openapi.json' })
    return JSON.parse(text) as OpenApi
  })

  const { db } = database
  const passwords = createPasswords()
  const limits = createSignOnLimits({ clock: systemClock })
  const envelope = openProcessEnvelope(config, { clock: systemClock, log })
  let stopped = false
  const stop = async (): Promise<void> => {
    if (stopped) return
    stopped = true
    for (const { app, stopSteps } of built.values())
      await stopInOrder(log, config.stopGraceMs, [['server', () => app.close()], ...stopSteps])
  }
  return {
    database,
    documents,
    routes,
    urls,
    errors,
    internals: [folder, database.url, new URL(database.url).pathname.slice(1), import.meta.dirname],
    send: ask,
    token: async (wanted) =>
      `Bearer ${await issueOperatorToken(config, { ...wanted, lifetimeSeconds: 3_600 })}`,
    expiredToken: async (plane, tenantId, scopes) => {
      const keys = await openPlaneKeys(config, plane, { clock: systemClock, log })
      const clock = { ...systemClock, now: () => Date.now() - 120_000 }
      const wanted = { subject: 'operator:late', tenantId, scopes, lifetimeSeconds: 60 }
      const { token } = await issueToken({ keys, rules: tokenRules(config, plane), clock }, wanted)
      keys.close()
      return `Bearer ${token}`
    },
    deadJob: async (job) => (await deadJob(database, { lane: LANE_OF_THE_DEAD, ...job })).id,
    searchInboxPlans: () => runAllPlans(planWork(database.platform)),
    people: (workspaceId, name) =>
      makePeople({ db, clock: systemClock, envelope, passwords, limits }, workspaceId, name),
    oidcReturn: async (email) => {
      const { text } = await ask('control', { method: 'GET', path: '/auth/oidc/start', headers: {} })
      const { authorization_url } = JSON.parse(text) as { authorization_url: string }
      identityProvider.persons.set(email, { email, email_verified: true })
      return Object.fromEntries(new URLSearchParams(await identityProvider.signOn(authorization_url, email)))
    },
    unknownExecution: (tenantId) => unknownExecution(database.db, tenantId),
    missingWebhook: (of) => missingWebhook(database.db, of),
    writeSecret: async (slug, name, value) => {
      await mkdir(join(config.secretsDir, slug), { recursive: true })
      await writeFile(join(config.secretsDir, slug, name), value)
    },
    stop,
    end: async () => {
      await identityProvider.close()
      await limits.close()
      await stop()
      await database.drop()
      await rm(folder, { recursive: true, force: true })
      await stopTracing()
    },
  }
}

async function eachServer<T>(
  built: ReadonlyMap<ServerName, BuiltProcess>,
  make: (process: BuiltProcess) => Promise<T>,
): Promise<Record<ServerName, T>> {
  const made: [ServerName, T][] = []
  for (const [name, process] of built) made.push([name, await make(process)])
  return Object.fromEntries(made) as Record<ServerName, T>
}

/** Reads Fastify's drawing of its routes, one line per path: `└── /jobs/:id (GET, HEAD)`. */
function printedRoutes(drawing: string): string[] {
  const above: string[] = []
  const found: string[] = []
  for (const line of drawing.split('\n')) {
    const [, indent = '', part = '', methods = ''] = /^([\s│├└─]*)(.*?)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? []
    if (part === '') continue
    const depth = indent.length / 4
    above.splice(depth - 1, above.length, part)
    const path = above.join('')
    for (const method of methods.split(', ').filter((name) => name !== '')) found.push(`${method} ${path}`)
  }
  return found
}
