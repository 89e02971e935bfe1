import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { systemClock } from '../src/platform/clock.ts'
import { createMetrics } from '../src/platform/metrics.ts'
import { createRedis } from '../src/platform/redis/redis.ts'
import { createDegradingStore } from '../src/resilience/stores/degrading.ts'
import { createMemoryStore } from '../src/resilience/stores/memory.ts'
import { createRedisStore } from '../src/resilience/stores/redis.ts'
import { capturedLog } from './captured-log.ts'
import type { StoreUnderTest } from './store-under-test.ts'

/** For everything that takes real time; long after it a test has failed. */
export const WITHIN = { timeout: 15_000, interval: 20 }
/** What may pass by itself between two steps of a test on two busy cores. */
const DRIFT_MS = 400
/** A timer may end a moment before the time of another clock has passed. */
const LATER_MS = 15

let made = 0

/** A shared store as a process has it: Redis, memory behind it, and the switch between the two. */
export async function redisNode(url: string, { limitMs = 50, hub = 'test' } = {}) {
  made += 1
  const { log, lines } = capturedLog()
  const metrics = createMetrics('test', false)
  const redis = createRedis({ url, clientName: 'test', log, metrics, random: Math.random, limitMs })
  const remote = createRedisStore({ redis, nodeId: `node-${made}`, hub })
  const local = createMemoryStore({ clock: systemClock })
  const store = createDegradingStore({ remote, local, log, metrics })
  expect(await redis.untilReady(WITHIN.timeout)).toBe(true)
  return {
    store,
    redis,
    remote,
    said: () => lines().map(({ msg }) => msg),
    isDegraded: async () => {
      const gauge = await metrics.registry.getSingleMetric('orchestrator_shared_store_degraded')?.get()
      return gauge?.values[0]?.value === 1
    },
    close: async () => {
      await store.close()
      redis.close()
    },
  }
}

export type RedisNode = Awaited<ReturnType<typeof redisNode>>

/** Two nodes on an empty Redis, for the conformance suite; its clock is the server's. */
export async function twoRedisNodes(url: string): Promise<StoreUnderTest> {
  // A busy machine must not look like a dead Redis here.
  const patient = { limitMs: 5_000 }
  const [one, two] = await Promise.all([redisNode(url, patient), redisNode(url, patient)])
  return {
    nodes: [one.store, two.store],
    advance: (ms) => delay(ms + LATER_MS),
    driftMs: DRIFT_MS,
    close: async () => {
      await Promise.all([one.close(), two.close()])
    },
  }
}
