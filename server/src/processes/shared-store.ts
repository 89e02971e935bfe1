/**
 * The shared store of a Node process: in Redis when there is one, else in memory, and then for one Node process only.
 * Wiring, and the rule of who may count alone.
 */
import { systemClock, systemRandom } from '../platform/clock.ts'
import { holdSessionLock, type SessionLock } from '../platform/db/session-lock.ts'
import { newId } from '../platform/ids.ts'
import type { Log } from '../platform/log.ts'
import { createMetrics } from '../platform/metrics.ts'
import { createRedis } from '../platform/redis/redis.ts'
import { StartRefused } from '../platform/start-refused.ts'
import { createDegradingStore } from '../resilience/stores/degrading.ts'
import { createMemoryStore } from '../resilience/stores/memory.ts'
import { createRedisStore } from '../resilience/stores/redis.ts'
import { exposeMetrics } from './expose-metrics.ts'
import type { Environment, NodeStore } from './runtime.ts'

/** Held by every Node process with an exec or worker: alone by one that counts in memory, else shared. */
const LOCK_KEY = [7102, 1] as const
/** A predecessor that was killed is gone for Postgres within moments; one that stops may need this long. */
const PREDECESSOR_MS = 5_000
const SHARED_LOCK_MS = 1_000
/** A start waits so long for Redis; then it goes on, and limits are counted alone until Redis is there. */
const REDIS_MS = 1_000

/**
 * Opens the store that exec and worker charge their limits on. Throws StartRefused when limits are to be shared,
 * another Node process makes calls, too, and there is no Redis to share them in (DESIGN §4).
 */
export async function openSharedStore(
  environment: Pick<Environment, 'config' | 'databaseUrl' | 'log'>,
  name: string,
): Promise<NodeStore> {
  const { redisUrl, limits } = environment.config
  const log = environment.log.child({ process: name })
  const countsAlone = redisUrl === undefined && limits === 'shared'
  const lock = holdSessionLock({
    url: environment.databaseUrl,
    applicationName: `orchestrator ${name} node`,
    key: LOCK_KEY,
    mode: countsAlone ? 'alone' : 'shared',
    meaning: 'another Node process makes calls, too: limits hold for each of them alone',
    ...{ log, clock: systemClock },
  })
  try {
    if (countsAlone) await requireAlone(lock)
    else await joinOthers(lock, log)
    if (redisUrl === undefined) return memoryNodeStore(lock.release)
    return await overRedis({ redisUrl, hub: environment.config.environment, name, lock, log })
  } catch (error) {
    await lock.release()
    throw error
  }
}

async function requireAlone(lock: SessionLock): Promise<void> {
  if (await lock.takenWithin(PREDECESSOR_MS)) return
  const others = await lock.holders().catch((error: unknown) => {
    throw new StartRefused(
      'The database cannot be used to see who else runs. Is DATABASE_URL right, and does the server run?',
      {
        cause: error,
      },
    )
  })
  throw new StartRefused(
    `Another Node process of this hub makes calls already (${others.join(', ')}). Rate limits and breakers of this one would be kept in its memory, so that the two together let twice as many calls pass. Set REDIS_URL on every exec and worker process, or choose limits per process with LIMITS=per-node on every one.`,
  )
}

/** It is not refused: while processes are moved to a new setting one by one, an old one still runs. */
async function joinOthers(lock: SessionLock, log: Log): Promise<void> {
  if (await lock.takenWithin(SHARED_LOCK_MS)) return
  const others = await lock.holders().catch(() => [])
  if (others.length > 0)
    log.warn(
      { others },
      'a process without REDIS_URL runs beside this one: until it is stopped, limits hold for each of them alone',
    )
}

/** A store for one Node process; `after` is what closing it closes, too. */
export function memoryNodeStore(after: () => Promise<void> = async () => undefined): NodeStore {
  const store = createMemoryStore({ clock: systemClock })
  return {
    store,
    checks: [],
    exposeOn: () => undefined,
    close: async () => {
      await store.close()
      await after()
    },
  }
}

async function overRedis(options: {
  readonly redisUrl: string
  readonly hub: string
  readonly name: string
  readonly lock: SessionLock
  readonly log: Log
}): Promise<NodeStore> {
  const { lock, log } = options
  const metrics = createMetrics('shared store', false)
  const redis = createRedis({
    url: options.redisUrl,
    clientName: `orchestrator-${options.name}`,
    ...{ log, metrics, random: systemRandom },
  })
  // Postgres knows the nodes that are up now: their number holds until Redis says another one.
  const nodesAtStart = await lock.holders().then(
    (holders) => holders.length,
    () => 1,
  )
  const remote = createRedisStore({ redis, nodeId: newId(), hub: options.hub, nodesAtStart })
  const store = createDegradingStore({
    remote,
    local: createMemoryStore({ clock: systemClock }),
    ...{ log, metrics },
  })
  await redis.untilReady(REDIS_MS)
  return {
    store,
    checks: [
      {
        name: 'redis',
        check: async () => {
          if (!redis.ready) throw new Error('Redis is gone')
        },
        without: 'each process holds its part of every limit',
      },
    ],
    exposeOn: (other) => exposeMetrics(metrics, other),
    close: async () => {
      await store.close()
      redis.close()
      await lock.release()
    },
  }
}
