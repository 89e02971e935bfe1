import { expect, vi } from 'vitest'
import {
  type ActiveConfigs,
  type ConfigDeps,
  type ConfigDocument,
  createActiveConfigs,
  editConfig,
} from '../src/features/configs/configs.ts'
import {
  createGuardMetrics,
  createGuards,
  type GuardMetrics,
  type Guards,
} from '../src/features/guards/guards.ts'
import type { Plane } from '../src/features/identities/identities.ts'
import type { JobGate } from '../src/features/jobs/job-gate.ts'
import { createPayloadInput } from '../src/features/jobs/jobs.ts'
import type { Payloads } from '../src/features/payloads/payloads.ts'
import {
  createSecretResolver,
  putSecretRef,
  type ResolveSecret,
  secretNames,
} from '../src/features/secrets/secrets.ts'
import type { WorkspaceDirectory } from '../src/features/workspaces/workspaces.ts'
import { createDial, type Dial } from '../src/platform/dial/dial.ts'
import type { HttpServer } from '../src/platform/http/server.ts'
import { createMetrics } from '../src/platform/metrics.ts'
import type { BreakerTransition } from '../src/resilience/breakers.ts'
import { createLoadShed } from '../src/resilience/load-shed.ts'
import { createMemoryStore } from '../src/resilience/stores/memory.ts'
import { type CallServer, checkedAnswers } from './checked-answers.ts'
import { type TestPayloads, testPayloads } from './payload-store.ts'
import { type QueueFixture, queueFixture } from './queue-fixture.ts'
import { testStores, usesUnseen } from './secret-stores.ts'
import { CHANGE, type TenantAccess, tenantAccess } from './tenant-access.ts'
import { startUpstream, type Upstream } from './upstream.ts'

export const KEY = 'sk_test_a_value_that_must_not_come_out'
export const SIGNING_SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const VARIABLES = new Map([
  ['ORCH_SECRET__SHOP_DEV__KEY', KEY],
  ['ORCH_SECRET__SHOP_DEV__SIGNING', SIGNING_SECRET],
])

/** Everything that configs, executions and jobs are made of, on a real database and with a real upstream. */
export interface CallingHub {
  readonly database: QueueFixture
  readonly access: TenantAccess
  readonly upstream: Upstream
  readonly dial: Dial
  readonly directory: WorkspaceDirectory
  readonly activeConfigs: ActiveConfigs
  readonly resolveSecret: ResolveSecret
  /** The rules of one process, with their memory. */
  readonly guards: Guards
  /** Shadow rules that would have done something, in their order. */
  readonly wouldHave: string[]
  /** What the breakers did. */
  readonly transitions: BreakerTransition[]
  readonly guardMetrics: GuardMetrics
  /** Large bodies, with the default threshold. */
  readonly payloads: Payloads
  readonly payloadStore: TestPayloads
  /** Of jobs whose input is a payload; no other is elsewhere here. */
  readonly readInput: ReturnType<typeof createPayloadInput>
  /** Nobody answers for jobs here. */
  readonly gate: JobGate
  readonly configDeps: ConfigDeps
  /** The workspace of the tests. It has the secret refs `key`, `signing`, and `nowhere`, which has no value. */
  readonly tenantId: string
  /** Another workspace, with nothing in it. */
  readonly otherId: string
  /** Makes a document the active config of the workspace, known to `activeConfigs`; gives its version. */
  configure(document: ConfigDocument): Promise<number>
  /** A server of the plane whose answers are checked; `addRoutes` gets it before it is ready. */
  serve(addRoutes: (app: HttpServer) => void, plane?: Plane): Promise<CallServer>
  query<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>
  close(): Promise<void>
}

export async function callingHub(audience: string): Promise<CallingHub> {
  const database = await queueFixture()
  const { db, platform } = database
  const access = await tenantAccess(database, { audience })
  const [{ id: tenantId }, { id: otherId }] = [
    await access.workspace('shop-dev'),
    await access.workspace('other-dev'),
  ]
  for (const [name, ref] of [
    ['key', 'env://KEY'],
    ['signing', 'env://SIGNING'],
    ['nowhere', 'env://NOWHERE'],
  ] as const)
    await putSecretRef(db, { tenantId, name, ref }, CHANGE)
  const upstream = await startUpstream()
  const dial = createDial({
    allowCidrs: ['127.0.0.1/32'],
    metrics: platform.metrics,
    log: platform.log,
  })
  const activeConfigs = createActiveConfigs(platform)
  const { clock } = platform
  const wouldHave: string[] = []
  const transitions: BreakerTransition[] = []
  const guards = createGuards({
    clock,
    store: createMemoryStore({ clock }),
    loadShed: createLoadShed({ clock }),
    random: platform.random,
    onTransition: (transition) => transitions.push(transition),
  })
  const payloadStore = testPayloads(platform, { inlineLimitBytes: 65_536 })
  const configDeps = { db, secretNames, deliveries: async () => [], refusal: dial.refusal }
  return {
    database,
    access,
    directory: access.directory,
    upstream,
    dial,
    activeConfigs,
    guards,
    wouldHave,
    transitions,
    payloads: payloadStore.payloads,
    payloadStore,
    readInput: createPayloadInput(payloadStore.payloads),
    gate: { before: async () => undefined, after: async () => undefined },
    guardMetrics: {
      ...createGuardMetrics(createMetrics('test', false)),
      wouldHave: (rule) => wouldHave.push(rule),
    },
    configDeps,
    tenantId,
    otherId,
    resolveSecret: createSecretResolver({
      db,
      clock: platform.clock,
      directory: access.directory,
      readRef: testStores({ db, variables: VARIABLES }),
      lastUsed: usesUnseen,
      ttlMs: 0,
    }),
    configure: async (document) => {
      const { version } = await editConfig(configDeps, { tenantId }, 'config', () => document, CHANGE)
      await vi.waitFor(async () => expect((await activeConfigs.get(tenantId)).version).toBe(version), {
        timeout: 20_000,
        interval: 5,
      })
      return version
    },
    serve: async (addRoutes, plane) => {
      const app = await access.server(plane && { plane })
      const call = checkedAnswers(app)
      addRoutes(app)
      await app.ready()
      return call
    },
    query: async <Row extends object>(text: string, values: readonly unknown[] = []) =>
      (await database.owner.execute<Row>({ name: '', text }, values)).rows,
    close: async () => {
      await access.close()
      activeConfigs.close()
      await dial.close()
      await upstream.close()
      await payloadStore.remove()
      await database.drop()
    },
  }
}
