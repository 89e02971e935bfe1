import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { HAS_REDIS, type RedisCluster, startRedisCluster } from '../../../testing/redis.ts'
import { redisNode, twoRedisNodes } from '../../../testing/redis-node.ts'
import { storeConformance } from '../../../testing/store-conformance.ts'

describe.skipIf(!HAS_REDIS)('on a Redis Cluster of three masters', () => {
  let cluster: RedisCluster
  beforeAll(async () => {
    cluster = await startRedisCluster()
  })
  afterAll(() => cluster.stop())
  beforeEach(() => Promise.all(cluster.nodes.map((server) => server.ask('FLUSHALL'))))

  storeConformance('Redis Cluster', () => twoRedisNodes(cluster.url))

  test('all keys of a workspace lie in one slot, and workspaces lie on all masters', async () => {
    const node = await redisNode(cluster.url, { limitMs: 5_000 })
    const limit = { permits: 1, periodMs: 3_600_000, burst: 1 }
    const groups = Array.from({ length: 30 }, (_, at) => `workspace-${at}`)
    const charges = ['workspace', 'connector/a', 'operation/a/b', 'caller/a/{x}'].map((key) => ({
      ...{ key, limit, cost: 1 },
      enforced: true,
    }))
    for (const group of groups) {
      expect(await node.store.charge(group, charges)).toMatchObject({ allowed: true })
      expect(await node.store.charge(group, charges)).toMatchObject({ allowed: false })
      expect(await node.store.takeProbe(group, 'a', 60_000)).toBe(true)
      node.store.shareOpening({ group, key: 'a', forMs: 60_000, why: 'x' })
      expect(await node.store.opening(group, 'a')).toBeDefined()
    }
    const slotsOf = new Map<string, Set<unknown>>()
    for (const server of cluster.nodes) {
      const keys = (await server.ask('KEYS', '*')) as string[]
      const ours = keys.filter((key) => key.startsWith('{workspace-'))
      expect(ours.length).toBeGreaterThan(0)
      for (const key of ours) {
        const group = key.slice(1, key.indexOf('}'))
        slotsOf.set(group, (slotsOf.get(group) ?? new Set()).add(await server.ask('CLUSTER', 'KEYSLOT', key)))
      }
    }
    expect([...slotsOf.keys()].sort()).toEqual(groups.sort())
    for (const [group, slots] of slotsOf) expect(slots.size, group).toBe(1)
    expect(await node.isDegraded()).toBe(false)
    await node.close()
  })
})
