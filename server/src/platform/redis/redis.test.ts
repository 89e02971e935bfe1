import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { createServer as createTlsServer, getCACertificates, setDefaultCACertificates } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { capturedLog } from '../../../testing/captured-log.ts'
import {
  HAS_REDIS,
  type RedisCluster,
  type RedisServer,
  startRedis,
  startRedisCluster,
} from '../../../testing/redis.ts'
import { selfSigned } from '../../../testing/self-signed.ts'
import { createMetrics } from '../metrics.ts'
import { createRedis, type Redis, RedisGone, redisScript } from './redis.ts'

const WITHIN = { timeout: 15_000, interval: 20 }
const opened: Redis[] = []

/** More than the 50 ms of the product: other tests on the machine must not look like a dead Redis. */
const LIMIT_MS = 250

function redisAt(url: string) {
  const captured = capturedLog()
  const metrics = createMetrics('test', false)
  const redis = createRedis({
    url,
    clientName: 'test',
    log: captured.log,
    metrics,
    random: Math.random,
    limitMs: LIMIT_MS,
  })
  opened.push(redis)
  const changes = () => captured.lines().map(({ msg, reason }) => [msg, reason])
  return { redis, changes, text: captured.text, metrics }
}

const isReady = (redis: Redis) => redis.untilReady(WITHIN.timeout).then((ready) => expect(ready).toBe(true))
/** Long after the limit of one call: who gave no answer until then waits for a dead server. */
const HANGS_MS = 5_000
const settles = (call: Promise<unknown>) =>
  Promise.race([call.catch((error: unknown) => error), delay(HANGS_MS, 'hangs')])

afterEach(() => {
  for (const redis of opened.splice(0)) redis.close()
})

test.skipIf(!HAS_REDIS)(
  'a Redis that is not there keeps nobody waiting, and is found when it comes',
  async () => {
    const server = await startRedis()
    await server.kill()
    const { redis, changes } = redisAt(server.url)
    expect(await settles(redis.send('k', ['GET', 'k']))).toBeInstanceOf(RedisGone)
    await vi.waitFor(
      () => expect(changes()).toEqual([['Redis is gone', expect.stringContaining('ECONNREFUSED')]]),
      WITHIN,
    )
    await server.restart()
    await isReady(redis)
    expect(changes().map(([said]) => said)).toEqual(['Redis is gone', 'Redis is ready'])
    await server.stop()
  },
)

describe.skipIf(!HAS_REDIS)('a single Redis', () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server.stop())

  const COUNT = redisScript("return redis.call('incrby', KEYS[1], ARGV[1])")

  test('a script is learned by the server, and again after it has forgotten all scripts', async () => {
    const { redis } = redisAt(server.url)
    await isReady(redis)
    expect(await redis.run(COUNT, ['{a}:n'], ['2'])).toBe(2)
    await server.ask('SCRIPT', 'FLUSH')
    const three = await Promise.all([1, 2, 3].map(() => redis.run(COUNT, ['{a}:n'], ['2'])))
    expect(three).toEqual([4, 6, 8])
  })

  test('messages are heard, also by who has listened before it was ready and after a loss', async () => {
    const one = redisAt(server.url)
    const heard: string[] = []
    one.redis.subscribe('early', (message) => heard.push(message))
    await isReady(one.redis)
    one.redis.subscribe('late', (message) => heard.push(message))
    const say = (channel: string, message: string) => server.ask('PUBLISH', channel, message)
    await vi.waitFor(async () => expect(await say('late', 'a')).toBe(1), WITHIN)
    await say('early', 'b')
    await vi.waitFor(() => expect(heard).toEqual(['a', 'b']), WITHIN)
    await server.ask('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await vi.waitFor(() => expect(one.changes().map(([said]) => said)).toContain('Redis is gone'), WITHIN)
    await isReady(one.redis)
    await say('early', 'c')
    await vi.waitFor(() => expect(heard).toEqual(['a', 'b', 'c']), WITHIN)
  })

  test('a frozen server costs the limit once: calls in flight end together, later ones at once', async () => {
    const { redis, changes, metrics } = redisAt(server.url)
    await isReady(redis)
    server.freeze()
    try {
      const inFlight = Array.from({ length: 100 }, () => settles(redis.send('k', ['GET', 'k'])))
      for (const ended of await Promise.all(inFlight)) expect(ended).toBeInstanceOf(RedisGone)
      expect(redis.ready).toBe(false)
      // Nothing is sent to it any more: this rejects within the same turn of the event loop.
      const turn = new Promise((resolve) => setImmediate(() => resolve('turn')))
      const later = redis.send('k', ['GET', 'k']).catch((error: unknown) => error)
      expect(await Promise.race([later, turn])).toBeInstanceOf(RedisGone)
    } finally {
      server.thaw()
    }
    await isReady(redis)
    expect(await redis.send('k', ['GET', 'k'])).toBeNull()
    expect(changes()).toEqual([
      ['Redis is ready', undefined],
      ['Redis is gone', `no answer within ${LIMIT_MS} ms`],
      ['Redis is ready', undefined],
    ])
    expect(await metrics.registry.metrics()).toMatch(/orchestrator_redis_losses_total\{.*\} 1/)
  })

  test('a frozen server is noticed without a call', async () => {
    const { redis } = redisAt(server.url)
    await isReady(redis)
    server.freeze()
    await vi.waitFor(() => expect(redis.ready).toBe(false), WITHIN)
    server.thaw()
    await isReady(redis)
  })

  test('a process that itself stood still does not take Redis for gone', async () => {
    const { redis, changes } = redisAt(server.url)
    await isReady(redis)
    const answer = redis.send('k', ['SET', 'k', 'v'])
    const until = performance.now() + 3 * LIMIT_MS
    while (performance.now() < until);
    expect(await answer).toBe('OK')
    expect(changes().map(([said]) => said)).toEqual(['Redis is ready'])
    await redis.send('k', ['DEL', 'k'])
  })

  test('a server that cannot do its work counts as gone, with its reason', async () => {
    const { redis, changes } = redisAt(server.url)
    await isReady(redis)
    await server.ask('CONFIG', 'SET', 'maxmemory', '1')
    try {
      expect(await settles(redis.send('k', ['SET', 'k', 'v']))).toBeInstanceOf(RedisGone)
      expect(changes()).toContainEqual(['Redis is gone', expect.stringMatching(/^OOM /)])
    } finally {
      await server.ask('CONFIG', 'SET', 'maxmemory', '0')
    }
  })

  test('several servers that are no cluster are refused: each node would count at another one', async () => {
    const other = await startRedis()
    const { changes } = redisAt(`${server.url},${other.url}`)
    await vi.waitFor(
      () => expect(changes()).toEqual([['Redis is gone', expect.stringContaining('no Redis Cluster')]]),
      WITHIN,
    )
    await other.stop()
  })

  test('after close nothing is tried any more', async () => {
    const { redis, changes } = redisAt(server.url)
    await isReady(redis)
    redis.close()
    expect(await settles(redis.send('k', ['GET', 'k']))).toBeInstanceOf(RedisGone)
    expect(changes()).toHaveLength(1)
    await vi.waitFor(
      async () => expect(await server.ask('CLIENT', 'LIST')).not.toContain('name=test'),
      WITHIN,
    )
  })
})

test.skipIf(!HAS_REDIS)('a password is used and never logged, whether it is right or wrong', async () => {
  const server = await startRedis({ requirepass: 'hunter2-right' })
  const right = redisAt(`redis://:hunter2-right@127.0.0.1:${server.port}`)
  await isReady(right.redis)
  const wrong = redisAt(`redis://:hunter2-wrong@127.0.0.1:${server.port}`)
  await vi.waitFor(() => expect(wrong.changes()).toHaveLength(1), WITHIN)
  expect(wrong.text()).toContain('WRONGPASS')
  await server.kill()
  await vi.waitFor(() => expect(right.changes()).toHaveLength(2), WITHIN)
  expect(right.text() + wrong.text()).not.toContain('hunter2')
  await server.stop()
})

test.skipIf(!HAS_REDIS)(
  'TLS: a certificate of its name is taken, one that nobody has vouched for is not',
  async () => {
    const server = await startRedis()
    const { key, cert } = selfSigned('localhost')
    const sockets = new Set<Socket>()
    // The TLS ends in front of the server, as at most providers.
    const front = createTlsServer({ key, cert }, (secure) => {
      const plain = connect(server.port, '127.0.0.1')
      for (const socket of [secure, plain]) socket.on('error', () => undefined)
      sockets.add(secure).add(plain)
      secure.pipe(plain).pipe(secure)
    }).listen(0, '127.0.0.1')
    await once(front, 'listening')
    const url = `rediss://localhost:${(front.address() as AddressInfo).port}`
    const before = getCACertificates('default')
    try {
      const stranger = redisAt(url)
      await vi.waitFor(
        () => expect(stranger.changes()).toEqual([['Redis is gone', expect.stringContaining('self-signed')]]),
        WITHIN,
      )
      setDefaultCACertificates([...before, cert])
      const { redis } = redisAt(url)
      await isReady(redis)
      expect(await redis.send('k', ['SET', 'k', 'v'])).toBe('OK')
      await isReady(stranger.redis)
    } finally {
      setDefaultCACertificates(before)
      for (const redis of opened.splice(0)) redis.close()
      for (const socket of sockets) socket.destroy()
      front.close()
      await server.stop()
    }
  },
)

describe.skipIf(!HAS_REDIS)('a Redis Cluster', () => {
  let cluster: RedisCluster
  beforeAll(async () => {
    cluster = await startRedisCluster()
  })
  afterAll(() => cluster.stop())

  const KEYS = Array.from({ length: 30 }, (_, at) => `{group-${at}}:n`)
  const COUNT = redisScript("return redis.call('incrby', KEYS[1], ARGV[1])")
  const byNode = () => Promise.all(cluster.nodes.map(async (node) => Number(await node.ask('DBSIZE'))))

  test('is found from one URL, keys go to the nodes that own them, and messages reach who listens anywhere', async () => {
    const one = redisAt(cluster.nodes[1]?.url ?? '')
    const other = redisAt(cluster.url)
    await Promise.all([isReady(one.redis), isReady(other.redis)])
    const heard: string[] = []
    one.redis.subscribe('c', (message) => heard.push(message))
    await Promise.all(KEYS.map((key) => one.redis.run(COUNT, [key], ['1'])))
    expect(await Promise.all(KEYS.map((key) => other.redis.run(COUNT, [key], ['1'])))).toEqual(
      KEYS.map(() => 2),
    )
    const sizes = await byNode()
    expect(sizes.reduce((sum, size) => sum + size)).toBe(KEYS.length)
    expect(sizes.every((size) => size > 0)).toBe(true)
    await vi.waitFor(async () => {
      await Promise.all(KEYS.map((key) => other.redis.send(key, ['PUBLISH', 'c', key])))
      expect(new Set(heard).size).toBe(KEYS.length)
    }, WITHIN)
  })

  test('is found although the first of its URLs names a node that is away, and its loss is still noticed', async () => {
    const away = await startRedis()
    await away.stop()
    const { redis } = redisAt(`${away.url},${cluster.url}`)
    await isReady(redis)
    cluster.nodes[0]?.freeze()
    await vi.waitFor(() => expect(redis.ready).toBe(false), WITHIN)
    cluster.nodes[0]?.thaw()
    await isReady(redis)
  })

  test('with one master frozen it is gone as a whole, and back when it is back', async () => {
    const { redis } = redisAt(cluster.url)
    await isReady(redis)
    const [frozen] = cluster.nodes
    frozen?.freeze()
    await vi.waitFor(() => expect(redis.ready).toBe(false), WITHIN)
    frozen?.thaw()
    await isReady(redis)
    expect(await settles(Promise.all(KEYS.map((key) => redis.send(key, ['PEXPIRE', key, '60000']))))).toEqual(
      KEYS.map(() => 1),
    )
  })

  test('with one master killed and nobody in its place it is gone as a whole', async () => {
    const { redis } = redisAt(cluster.url)
    await isReady(redis)
    await cluster.nodes[2]?.kill()
    await vi.waitFor(() => expect(redis.ready).toBe(false), WITHIN)
    expect(await settles(redis.send('k', ['GET', 'k']))).toBeInstanceOf(RedisGone)
  })
})

test.skipIf(!HAS_REDIS)(
  'a Redis Cluster whose master dies is back when the spare node has taken its place',
  async () => {
    const cluster = await startRedisCluster({ spare: true })
    const { redis } = redisAt(cluster.url)
    await isReady(redis)
    const keys = Array.from({ length: 30 }, (_, at) => `{group-${at}}:n`)
    const setAll = () => Promise.all(keys.map((key) => redis.send(key, ['SET', key, 'v', 'PX', '60000'])))
    expect(new Set(await setAll())).toEqual(new Set(['OK']))
    await cluster.nodes[0]?.kill()
    await vi.waitFor(() => expect(redis.ready).toBe(false), WITHIN)
    await isReady(redis)
    expect(new Set(await setAll())).toEqual(new Set(['OK']))
    redis.close()
    await cluster.stop()
  },
)
