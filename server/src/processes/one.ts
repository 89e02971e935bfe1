import type { Config } from '../config.ts'
import { requireServiceRole } from '../platform/db/database-roles.ts'
import { checkSchema } from '../platform/db/migrate.ts'
import type { Log } from '../platform/log.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { startTracing } from '../platform/telemetry/tracing.ts'
import { Problem } from '../problems.ts'
import { ensurePartitions } from '../queue/housekeeping.ts'
import { buildConsole } from './console.ts'
import { buildControl } from './control.ts'
import { buildExec } from './exec.ts'
import { buildIngress } from './ingress.ts'
import { requirePayloadsShared } from './payloads.ts'
import {
  type BuiltProcess,
  createPlatform,
  type Environment,
  launch,
  type ProcessName,
  type RunningProcess,
} from './runtime.ts'
import { openSharedStore } from './shared-store.ts'
import { buildWorker } from './worker.ts'

export const BUILDERS: Readonly<Record<ProcessName, (environment: Environment) => Promise<BuiltProcess>>> = {
  control: buildControl,
  exec: buildExec,
  ingress: buildIngress,
  worker: buildWorker,
  console: buildConsole,
}

export const isProcessName = (name: string): name is ProcessName => Object.hasOwn(BUILDERS, name)

/**
 * Starts one process of the hub against `DATABASE_URL`, whose schema must be there. The console needs no database.
 * Throws StartRefused for what the operator can mend.
 */
export async function startOne(name: ProcessName, config: Config, log: Log): Promise<RunningProcess> {
  const stopTracing = startTracing({ serviceName: `orchestrator-${name}`, endpoint: config.otlpEndpoint })
  const environment = { config, log, databaseUrl: config.databaseUrl ?? '' }
  if (name !== 'console') {
    if (config.databaseUrl === undefined)
      throw new StartRefused(
        `\`start ${name}\` needs DATABASE_URL. Only \`start all\` brings a database of its own.`,
      )
    requirePayloadsShared(config)
    await requireSchema(environment)
  }
  const sharedStore = makesCalls(name) ? await openSharedStore(environment, name) : undefined
  try {
    const own = { ...environment, ...(sharedStore && { sharedStore }) }
    const running = await launch(await BUILDERS[name](own), own)
    return {
      ...running,
      stop: async () => {
        await running.stop()
        await sharedStore?.close()
        await stopTracing()
      },
    }
  } catch (error) {
    await sharedStore?.close()
    throw error
  }
}

const makesCalls = (name: ProcessName): boolean => name === 'exec' || name === 'worker'

/** Throws StartRefused unless this process is who it must be on the database, and finds the schema it knows. */
export async function requireSchema(environment: Environment): Promise<void> {
  const platform = createPlatform('start', environment)
  try {
    await requireServiceRole(platform.db)
    await checkSchema(platform)
    // After a week without a worker nobody has made today's partitions.
    await ensurePartitions(platform.db, platform.log)
  } catch (error) {
    throw error instanceof StartRefused ? error : unusable(environment.databaseUrl, error)
  } finally {
    await platform.close()
  }
}

/** Names host, port and database only: the URL holds the password. */
function unusable(databaseUrl: string, error: unknown): StartRefused {
  const { host, pathname } = new URL(databaseUrl)
  const cause = error instanceof Problem ? (error.extra.cause ?? error) : error
  // Node's error for several addresses has no message.
  const { message, code } = cause as { message: string; code?: string }
  return new StartRefused(
    `The database at ${host}${pathname} cannot be used: ${message || code}. Is DATABASE_URL right, and does the server run?`,
    { cause: error },
  )
}
