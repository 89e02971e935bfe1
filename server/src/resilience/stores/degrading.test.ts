import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { HAS_REDIS, type RedisServer, startRedis } from '../../../testing/redis.ts'
import { type RedisNode, redisNode, WITHIN } from '../../../testing/redis-node.ts'
import type { Charge, Charged, SharedStore } from './store.ts'

/** Long after the limit of one call: who has no answer by then waits for a dead server. */
const HANGS_MS = 5_000

const charge = (key: string, burst: number, cost = 1): Charge => ({
  key,
  limit: { permits: 1, periodMs: 3_600_000, burst },
  cost,
  enforced: true,
})
const passed = (answers: readonly Charged[]) => answers.filter(({ allowed }) => allowed).length
const many = (store: SharedStore, times: number, charges: readonly Charge[]) =>
  Promise.all(Array.from({ length: times }, async () => store.charge('w', charges)))
const inTime = <T>(work: Promise<T>) =>
  Promise.race([work, delay(HANGS_MS).then(() => Promise.reject(new Error('it hangs')))])

describe.skipIf(!HAS_REDIS)('two nodes and their Redis', () => {
  let server: RedisServer
  let one: RedisNode
  let two: RedisNode
  beforeAll(async () => {
    server = await startRedis()
    // More than the 50 ms of the product: other tests on the machine must not look like a dead Redis.
    const patient = { limitMs: 250 }
    one = await redisNode(server.url, patient)
    two = await redisNode(server.url, patient)
    // Each hears of the other with its next beat.
    await vi.waitFor(() => expect([one.remote.nodes, two.remote.nodes]).toEqual([2, 2]), WITHIN)
  })
  afterAll(async () => {
    await Promise.all([one.close(), two.close()])
    await server.stop()
  })
  const isGone = () =>
    vi.waitFor(() => expect([one.redis.ready, two.redis.ready]).toEqual([false, false]), WITHIN)
  const isBack = async () => {
    for (const node of [one, two]) expect(await node.redis.untilReady(WITHIN.timeout)).toBe(true)
  }

  test('killed under load: no decision is lost, each node holds its part, and all is shared again after', async () => {
    let loading = true
    const seen: Charged[] = []
    const load = async (node: RedisNode) => {
      while (loading) {
        seen.push(...(await many(node.store, 5, [charge('load', 1_000_000)])))
        // Decisions of this node alone take no turn of the event loop.
        await turn()
      }
    }
    const loads = [load(one), load(two)]
    await vi.waitFor(() => expect(seen.length).toBeGreaterThan(100), WITHIN)
    await server.kill()
    await isGone()
    const before = seen.length
    await vi.waitFor(() => expect(seen.length).toBeGreaterThan(before + 1_000), WITHIN)
    loading = false
    await inTime(Promise.all(loads))
    expect(passed(seen)).toBe(seen.length)

    expect(await Promise.all([one.isDegraded(), two.isDegraded()])).toEqual([true, true])
    expect(one.said()).toContain('limits are counted by each node alone: limit / nodes')
    expect(passed(await many(one.store, 100, [charge('a', 21)]))).toBe(10)
    expect(passed(await many(two.store, 100, [charge('a', 21)]))).toBe(10)

    await server.restart()
    await isBack()
    expect(await Promise.all([one.isDegraded(), two.isDegraded()])).toEqual([false, false])
    const answers = await Promise.all([
      many(one.store, 50, [charge('b', 21)]),
      many(two.store, 50, [charge('b', 21)]),
    ])
    expect(passed(answers.flat())).toBe(21)
  })

  test('frozen: calls in flight are decided alone after the limit, later ones at once', async () => {
    server.freeze()
    try {
      expect(passed(await inTime(many(one.store, 100, [charge('c', 10)])))).toBe(5)
      const later = one.store.charge('w', [charge('d', 10)])
      expect(later).not.toBeInstanceOf(Promise)
      expect(later).toMatchObject({ allowed: true, states: [{ remaining: 4 }] })
    } finally {
      server.thaw()
    }
    await isBack()
  })

  test('gone: a limit keeps at least one permit, and a call that has room in the whole limit still has some', async () => {
    await server.kill()
    await isGone()
    expect(passed(await many(one.store, 20, [charge('single', 1)]))).toBe(1)
    expect(passed(await many(one.store, 20, [charge('costly', 10, 8)]))).toBe(1)
    expect(await one.store.charge('w', [charge('never', 10, 11)])).toMatchObject({
      states: [{ retryAfterMs: Number.POSITIVE_INFINITY }],
    })
    await server.restart()
    await isBack()
  })

  test('gone: breakers are heard and probed in the own process, nothing hangs', async () => {
    await server.kill()
    await isGone()
    const heard: string[] = []
    one.store.onOpening(({ key }) => heard.push(key))
    one.store.shareOpening({ group: 'w', key: 'stripe', forMs: 60_000, why: 'x' })
    expect(await inTime(one.store.opening('w', 'stripe'))).toMatchObject({ why: 'x' })
    expect(heard).toEqual(['stripe'])
    expect(one.store.takeProbe('w', 'stripe', 60_000)).toBe(true)
    expect(one.store.takeProbe('w', 'stripe', 60_000)).toBe(false)
    one.store.endProbe('w', 'stripe')
    expect(one.store.takeProbe('w', 'stripe', 60_000)).toBe(true)
    one.store.endOpening('w', 'stripe')
    expect(await inTime(one.store.opening('w', 'stripe'))).toBeUndefined()
    await server.restart()
    await isBack()
  })
})
