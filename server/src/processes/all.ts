/** The whole hub in one Node process: the default of `npm start`. Wiring only. */
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { migrate } from '../platform/db/migrate.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../platform/embedded/embedded-postgres.ts'
import type { Log } from '../platform/log.ts'
import { startTracing } from '../platform/telemetry/tracing.ts'
import { createWakeUp } from '../queue/wake-up.ts'
import { requireFreePorts } from './free-ports.ts'
import { openGuards } from './guards.ts'
import { BUILDERS, requireSchema } from './one.ts'
import {
  createPlatform,
  type Environment,
  launch,
  type ProcessName,
  type RunningProcess,
  stopInOrder,
} from './runtime.ts'
import { openSharedStore } from './shared-store.ts'

export interface Hub {
  readonly urls: Readonly<Record<ProcessName, string>>
  /** True when the database is the hub's own. */
  readonly embedded: boolean
  /** Resolves with the reason when the hub cannot go on: its own database is gone for good. */
  readonly lost: Promise<Error>
  stop(): Promise<void>
}

/** Work comes in through the first ones: started last, stopped first. */
const START_ORDER = [
  'worker',
  'control',
  'console',
  'exec',
  'ingress',
] as const satisfies readonly ProcessName[]

const NEVER = new Promise<never>(() => undefined)

/**
 * Starts the five processes, on `DATABASE_URL` or on an embedded Postgres in `DATA_DIR`, and migrates it first.
 * What fails half-way leaves nothing running. Throws StartRefused for what the operator can mend.
 */
export async function startAll(config: Config, log: Log): Promise<Hub> {
  await requireFreePorts(config)
  const stopTracing = startTracing({ serviceName: 'orchestrator', endpoint: config.otlpEndpoint })
  const postgres =
    config.databaseUrl === undefined
      ? await startEmbeddedPostgres({ dataDir: join(config.dataDir, 'postgres'), log })
      : undefined
  const running: RunningProcess[] = []
  let closeShared = async (): Promise<void> => undefined
  const stop = async (): Promise<void> => {
    // Together, but for the worker: what the others accepted while they ended is still claimed or handed back.
    await Promise.all(running.filter(({ name }) => name !== 'worker').map((one) => one.stop()))
    await running.find(({ name }) => name === 'worker')?.stop()
    await closeShared()
    await stopInOrder(log, config.stopGraceMs, [
      ['database', () => postgres?.stop()],
      ['tracing', stopTracing],
    ])
  }
  try {
    const environment = await prepare(config, log, postgres)
    const sharedStore = await openSharedStore(environment, 'all')
    closeShared = sharedStore.close
    const shared = createPlatform('wake-up', environment)
    const wakeUp = createWakeUp(shared)
    const guards = openGuards(shared, sharedStore.store)
    closeShared = async () => {
      await wakeUp.close()
      await guards.close()
      await shared.close()
      await sharedStore.close()
    }
    for (const name of START_ORDER) {
      const own = { ...environment, wakeUp, sharedStore, guards }
      running.push(await launch(await BUILDERS[name](own), own))
    }
  } catch (error) {
    await stop()
    throw error
  }
  return {
    urls: Object.fromEntries(running.map(({ name, url }) => [name, url])) as Hub['urls'],
    embedded: postgres !== undefined,
    lost: postgres?.lost ?? NEVER,
    stop,
  }
}

async function prepare(
  config: Config,
  log: Log,
  postgres: EmbeddedPostgres | undefined,
): Promise<Environment> {
  await migrate({ url: postgres?.url ?? config.databaseOwnerUrl ?? '', log })
  const environment = { config, log, databaseUrl: postgres?.url ?? config.databaseUrl ?? '' }
  await requireSchema(environment)
  return environment
}
