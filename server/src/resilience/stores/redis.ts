import type { Redis } from '../../platform/redis/redis.ts'
import { reserveOf } from '../gcra.ts'
import type { RemoteStore } from './degrading.ts'
import { BEAT, CHARGE, LEFT, RELEASE } from './redis-scripts.ts'
import type { Charge, Charged, ChargeState, SharedOpening } from './store.ts'

const CHANNEL = 'orchestrator:openings'
const BEAT_EVERY_MS = 5_000
/** Three beats missed. */
const DEAD_AFTER_MS = 15_000
const US_PER_MS = 1_000
const FIGURES_PER_LIMIT = 4

/**
 * The store of several nodes, in one Redis or Redis Cluster. Everything in it ends by itself. `group` stands in
 * braces in every key, so that the keys of a decision lie on one node of a cluster; it holds no brace itself.
 *
 * `nodeId` is unique; `hub` tells hubs apart that share a Redis.
 */
export function createRedisStore(options: {
  readonly redis: Redis
  readonly nodeId: string
  readonly hub: string
  /** What is believed until the first nodes were heard of. */
  readonly nodesAtStart?: number
}): RemoteStore {
  const { redis, nodeId } = options
  const nodesKey = `{orchestrator:${options.hub}}:nodes`
  const listeners = new Set<(opening: SharedOpening) => void>()
  let nodes = Math.max(1, options.nodesAtStart ?? 1)
  let readyAt = 0

  const beat = (): void => {
    if (!redis.ready) return
    redis.run(BEAT, [nodesKey], [nodeId, String(DEAD_AFTER_MS)]).then(
      (live) => {
        // A server that comes back empty hears the nodes one after the other: fewer are believed later.
        const settled = performance.now() - readyAt > DEAD_AFTER_MS
        nodes = Math.max(settled ? 1 : nodes, Number(live))
      },
      // It is gone; the next beat comes when it is back.
      () => undefined,
    )
  }
  const stopBeating = redis.onChange((ready) => {
    if (!ready) return
    readyAt = performance.now()
    beat()
  })
  const beats = setInterval(beat, BEAT_EVERY_MS)
  beat()

  const stopHearing = redis.subscribe(CHANNEL, (message) => {
    const opening = readMessage(message, nodeId)
    if (opening) for (const listener of listeners) listener(opening)
  })

  /** For what nobody waits for: a Redis that is gone has said so itself. */
  const tell = (call: Promise<unknown>): void => void call.catch(() => undefined)

  const publish = (at: string, opening: SharedOpening): void =>
    tell(redis.send(at, ['PUBLISH', CHANNEL, JSON.stringify({ nodeId, ...opening })]))

  return {
    get ready() {
      return redis.ready
    },
    get nodes() {
      return nodes
    },
    onChange: redis.onChange,

    charge: async (group, charges) => {
      if (charges.length === 0) return { allowed: true, states: [] }
      const keys = charges.map(({ key }) => `{${group}}:limit:${key}`)
      return readCharged(await redis.run(CHARGE, keys, charges.flatMap(argumentsOf)))
    },

    shareOpening: ({ group, key, forMs, why }) => {
      const at = `{${group}}:open:${key}`
      tell(redis.send(at, ['SET', at, why, 'PX', String(wholeMs(forMs))]))
      publish(at, { group, key, forMs, why })
    },
    onOpening: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    opening: async (group, key) => {
      const [why, forMs] = (await redis.run(LEFT, [`{${group}}:open:${key}`], [])) as [string | null, number]
      return why === null || forMs <= 0 ? undefined : { group, key, forMs, why }
    },
    endOpening: (group, key) => {
      const at = `{${group}}:open:${key}`
      tell(redis.send(at, ['DEL', at]))
      publish(at, { group, key, forMs: 0, why: '' })
    },

    takeProbe: async (group, key, leaseMs) => {
      const at = `{${group}}:probe:${key}`
      return (await redis.send(at, ['SET', at, nodeId, 'NX', 'PX', String(wholeMs(leaseMs))])) !== null
    },
    endProbe: (group, key) => tell(redis.run(RELEASE, [`{${group}}:probe:${key}`], [nodeId])),

    close: async () => {
      clearInterval(beats)
      stopBeating()
      stopHearing()
      listeners.clear()
      await redis.send(nodesKey, ['ZREM', nodesKey, nodeId]).catch(() => undefined)
    },
  }
}

/** Redis refuses an expiry of 0. */
const wholeMs = (ms: number): number => Math.max(1, Math.ceil(ms))

const argumentsOf = (charge: Charge): string[] => {
  const { limit, cost, enforced } = charge
  const figures = [limit.permits, limit.periodMs * US_PER_MS, limit.burst, cost, enforced ? 1 : 0]
  return [...figures, reserveOf(charge)].map(String)
}

function readCharged(answer: unknown): Charged {
  const [pass, ...figures] = answer as number[]
  const states: ChargeState[] = []
  for (let at = 0; at < figures.length; at += FIGURES_PER_LIMIT) {
    const [room, remaining = 0, wait = 0, resetMs = 0] = figures.slice(at, at + FIGURES_PER_LIMIT)
    const retryAfterMs = wait < 0 ? Number.POSITIVE_INFINITY : wait
    states.push({ allowed: room === 1, remaining, retryAfterMs, resetMs })
  }
  return { allowed: pass === 1, states }
}

/** undefined for our own messages, and for what is none of ours. */
function readMessage(message: string, nodeId: string): SharedOpening | undefined {
  try {
    const read = JSON.parse(message) as Partial<SharedOpening & { nodeId: string }>
    const { group, key, forMs, why } = read
    if (read.nodeId === nodeId || typeof group !== 'string' || typeof key !== 'string') return undefined
    return typeof forMs === 'number' && typeof why === 'string' ? { group, key, forMs, why } : undefined
  } catch {
    return undefined
  }
}
