/**
 * What every process is made of: a platform, a server, an order in which they stop. Wiring only.
 */
import type { Config } from '../config.ts'
import { systemClock, systemRandom } from '../platform/clock.ts'
import { createDb, type Db } from '../platform/db/db.ts'
import { createNotifications } from '../platform/db/notifications.ts'
import { one } from '../platform/db/statement.ts'
import type { ReadinessCheck } from '../platform/http/probes.ts'
import type { HttpServer, HttpServerOptions } from '../platform/http/server.ts'
import { createHttpServer } from '../platform/http/server.ts'
import type { Log } from '../platform/log.ts'
import { createMetrics, type Metrics } from '../platform/metrics.ts'
import type { Platform } from '../platform/platform.ts'
import type { WakeUp } from '../queue/wake-up.ts'
import type { SharedStore } from '../resilience/stores/store.ts'
import type { NodeGuards } from './guards.ts'
import { listen, type Place } from './listen.ts'

export type ProcessName = 'control' | 'exec' | 'ingress' | 'worker' | 'console'

export interface RunningProcess {
  readonly name: ProcessName
  readonly url: string
  /** Stops taking work, lets what runs end within the grace time, closes everything. Never rejects. */
  stop(): Promise<void>
}

/** What one Node process gives to every hub process that it runs. */
export interface Environment {
  readonly config: Config
  readonly databaseUrl: string
  readonly log: Log
  /** Shared by the processes of one Node process: a job accepted by one is heard at once by the other. */
  readonly wakeUp?: WakeUp
  /** Shared by them, too, so that a limit holds over exec and worker; given to every exec and worker. */
  readonly sharedStore?: NodeStore
  /** Shared by them, too: a breaker that opened for exec is open for worker, and one thread has one load. */
  readonly guards?: NodeGuards
}

/** The shared store of one Node process, with what its processes tell of it. */
export interface NodeStore {
  readonly store: SharedStore
  /** For `/ready`. */
  readonly checks: readonly ReadinessCheck[]
  /** Adds its metrics to those of a process. */
  exposeOn(metrics: Metrics): void
  close(): Promise<void>
}

/** The shared store of a process that makes calls; who starts one gives it. */
export function takeSharedStore({ sharedStore }: Environment, metrics: Metrics): NodeStore {
  // One of its own would count limits apart from the processes beside it.
  if (!sharedStore) throw new Error('this process is started without a shared store')
  sharedStore.exposeOn(metrics)
  return sharedStore
}

/** A server that has a place of its own, not listening yet. */
export interface Listener {
  readonly app: HttpServer
  readonly place: Place
}

/** A process with its routes and parts, not listening yet. */
export interface BuiltProcess {
  readonly name: ProcessName
  readonly app: HttpServer
  /** Servers that the process has besides. */
  readonly listeners?: readonly Listener[]
  /** What begins to work by itself once the process listens. */
  begin?(): Promise<void>
  /** In this order, after the server has stopped taking requests. */
  readonly stopSteps: readonly StopStep[]
}

const ping = one<Record<string, never>, { ok: number }>('runtime.ping', 'select 1 as ok', () => [])

export const databaseCheck = (db: Db) => ({ name: 'database', check: () => ping(db, {}) })

/** The platform of one process, with its own pool, metrics and log lines. */
export function createPlatform(
  name: string,
  { config, databaseUrl, log }: Environment,
): Platform & { readonly close: () => Promise<void> } {
  const metrics = createMetrics(name)
  const processLog = log.child({ process: name })
  const applicationName = `orchestrator ${name}`
  const db = createDb({
    url: databaseUrl,
    applicationName,
    poolSize: config.dbPoolSize,
    slowQueryMs: config.slowQueryMs,
    log: processLog,
    metrics,
  })
  const notifications = createNotifications({ url: databaseUrl, applicationName, log: processLog })
  return {
    log: processLog,
    metrics,
    clock: systemClock,
    random: systemRandom,
    db,
    notifications,
    close: async () => {
      await notifications.close()
      await db.close()
    },
  }
}

/** The limits of the hub's own work on one request: beyond the longest execution, below the request limit of proxies. */
const HANDLER_TIMEOUT_MS = 65_000

/** A server with the limits of the configuration. */
export function createProcessServer(
  { config }: Environment,
  platform: Pick<Platform, 'log' | 'metrics'>,
  options: Pick<HttpServerOptions, 'checks' | 'access' | 'openApi' | 'admit' | 'allowFrom' | 'tls'> & {
    readonly bodyLimitBytes?: number
  },
): Promise<HttpServer> {
  return createHttpServer({
    log: platform.log,
    metrics: platform.metrics,
    trustedProxies: config.trustedProxies,
    bodyLimitBytes: config.apiBodyLimitBytes,
    handlerTimeoutMs: HANDLER_TIMEOUT_MS,
    ...options,
  })
}

export type StopStep = readonly [what: string, stop: () => unknown]

/** Runs stop steps in order; one that fails or hangs is logged and does not keep the next from running. */
export async function stopInOrder(log: Log, graceMs: number, steps: readonly StopStep[]): Promise<void> {
  for (const [what, stop] of steps) {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not finished after ${graceMs} ms`)), graceMs)
    })
    try {
      await Promise.race([stop(), late])
    } catch (error) {
      log.warn({ err: error }, `stopping: ${what}`)
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Starts a built process: checks nothing but its port. What fails half-way is stopped again. */
export async function launch(built: BuiltProcess, { config, log }: Environment): Promise<RunningProcess> {
  const { name, app, listeners = [], stopSteps } = built
  const stop = () =>
    stopInOrder(log.child({ process: name }), config.stopGraceMs, [
      [
        'server',
        () => Promise.all([app, ...listeners.map((listener) => listener.app)].map((one) => one.close())),
      ],
      ...stopSteps,
    ])
  try {
    const { host } = config
    const place = { name, host, hostVariable: 'HOST', portVariable: `${name.toUpperCase()}_PORT` }
    const address = await listen(app, { ...place, port: config.ports[name] })
    // With TLS the name in the certificate counts, which only the configuration knows.
    const url = config.tls && (name === 'control' || name === 'exec') ? config.urls[name] : address
    for (const listener of listeners) await listen(listener.app, listener.place)
    await built.begin?.()
    return { name, url, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
