import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { HAS_REDIS, type RedisServer, startRedis } from '../../../testing/redis.ts'
import { type RedisNode, redisNode, twoRedisNodes, WITHIN } from '../../../testing/redis-node.ts'
import { storeConformance } from '../../../testing/store-conformance.ts'
import type { Charge } from './store.ts'

const charge = (key: string, burst: number, extra: Partial<Charge> = {}): Charge => ({
  key,
  limit: { permits: 1, periodMs: 3_600_000, burst },
  cost: 1,
  enforced: true,
  ...extra,
})

describe.skipIf(!HAS_REDIS)('on a single Redis', () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())
  beforeEach(() => server.ask('FLUSHALL'))

  storeConformance('Redis', () => twoRedisNodes(server.url))

  describe('a node', () => {
    let node: RedisNode
    const others: RedisNode[] = []
    beforeEach(async () => {
      node = await redisNode(server.url, { limitMs: 5_000 })
    })
    afterEach(async () => {
      await Promise.all([node, ...others.splice(0)].map((each) => each.close()))
    })
    const join = async (hub?: string) => {
      const other = await redisNode(server.url, { limitMs: 5_000, ...(hub && { hub }) })
      others.push(other)
      return other
    }

    test('goes on when the server forgets all scripts in the middle of many decisions', async () => {
      const limit = [charge('a', 120)]
      const some = (times: number) =>
        Array.from({ length: times }, async () => (await node.store.charge('w', limit)).allowed)
      const answers = some(100)
      const flushed = server.ask('SCRIPT', 'FLUSH')
      answers.push(...some(100))
      await flushed
      answers.push(...some(100))
      expect((await Promise.all(answers)).filter(Boolean)).toHaveLength(120)
      expect(await node.isDegraded()).toBe(false)
    })

    test('leaves nothing behind for ever: every key ends by itself', async () => {
      await node.store.charge('w', [charge('a', 5), charge('b', 5, { enforced: false })])
      await node.store.charge('w', [charge('a', 9), charge('b', 3)])
      node.store.shareOpening({ group: 'w', key: 'c', forMs: 0.4, why: 'less than a ms' })
      node.store.shareOpening({ group: 'w', key: 'd', forMs: 60_000, why: 'x' })
      await node.store.takeProbe('w', 'd', 60_000)
      const keys = (await server.ask('KEYS', '*')) as string[]
      expect(keys.sort()).toEqual(
        ['{orchestrator:test}:nodes', '{w}:limit:a', '{w}:limit:b', '{w}:open:d', '{w}:probe:d'].sort(),
      )
      for (const key of keys) expect(Number(await server.ask('PTTL', key)), key).toBeGreaterThan(0)
    })

    test('a limit is kept for as long as something is owed, and no longer', async () => {
      const limit = { permits: 10, periodMs: 1_000, burst: 10 }
      const { states } = await node.store.charge('w', [charge('a', 10, { limit, cost: 3 })])
      expect(states[0]?.resetMs).toBe(300)
      expect(Number(await server.ask('PTTL', '{w}:limit:a'))).toBeLessThanOrEqual(300)
      await vi.waitFor(async () => expect(await server.ask('EXISTS', '{w}:limit:a')).toBe(0), WITHIN)
    })

    test('a right to probe that has gone to another node is not given back by the one before', async () => {
      const other = await join()
      expect(await node.store.takeProbe('w', 'a', 60_000)).toBe(true)
      // As if the lease had ended and the other one had been faster.
      await server.ask('DEL', '{w}:probe:a')
      expect(await other.store.takeProbe('w', 'a', 60_000)).toBe(true)
      node.store.endProbe('w', 'a')
      // The first thing after it on the same connection.
      expect(await node.store.takeProbe('w', 'a', 60_000)).toBe(false)
    })

    test('does not hear its own openings twice, nor what is no opening', async () => {
      const other = await join()
      const heard: string[] = []
      node.store.onOpening(({ key }) => heard.push(key))
      node.store.shareOpening({ group: 'w', key: 'own', forMs: 1_000, why: 'x' })
      for (const message of ['no json', '{}', '[]', 'null', '{"group":"w","key":"k","forMs":"1","why":"x"}'])
        await server.ask('PUBLISH', 'orchestrator:openings', message)
      other.store.shareOpening({ group: 'w', key: 'other', forMs: 1_000, why: 'x' })
      await vi.waitFor(() => expect(heard).toContain('other'), WITHIN)
      expect(heard).toEqual(['own', 'other'])
    })

    test('nodes of the same hub know how many they are', async () => {
      const second = await join()
      const third = await join('another hub')
      await vi.waitFor(() => expect(second.remote.nodes).toBe(2), WITHIN)
      expect(third.remote.nodes).toBe(1)
    })
  })
})
