/** One limit over two Node processes: with their Redis, while it is dead, and when it is back. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { HAS_REDIS, type RedisServer, startRedis } from '../server/testing/redis.ts'
import { UNLIMITED } from '../server/testing/unlimited.ts'
import { type Answer, call } from './hub-client.ts'
import {
  freePorts,
  type HubHome,
  hubHome,
  type RunningCommand,
  type RunningHub,
  startHub,
  startRole,
} from './hub-process.ts'
import { type Sink, sinkConnector, startSink, taking } from './sink.ts'

const WITHIN = { timeout: 20_000, interval: 50 }
/** Odd, so that half of it is seen to be rounded down. */
const BURST = 21
/** What is not left to jobs, which get a fifth: of the whole burst, and of the half that a node has alone. */
const OF_EXECUTIONS = 17
const OF_EXECUTIONS_ALONE = 9
const CALLS = 40
const NODES = '{orchestrator:dev}:nodes'

describe.skipIf(!HAS_REDIS)('two processes that make calls', () => {
  let database: { readonly url: string; drop(): Promise<void> }
  let redis: RedisServer
  let sink: Sink
  let home: HubHome
  let hub: RunningHub
  let second: RunningCommand
  let execs: readonly string[]
  beforeAll(async () => {
    ;[database, redis, sink] = await Promise.all([emptyDatabase(), startRedis(), startSink()])
    home = await hubHome({ DATABASE_URL: database.url, REDIS_URL: redis.url, DEMO_WORKSPACES: 'true' })
    hub = await startHub(home)
    const [port] = await freePorts(1)
    const other = home.with({ EXEC_PORT: String(port) })
    second = await startRole(other, 'exec')
    execs = [home.urls.exec, other.urls.exec]
    // An hour for the next permit: nothing comes back while the test runs.
    const connector = { permits: 1, period_ms: 3_600_000, burst: BURST }
    const policy = { ...UNLIMITED, rate_limits: { ...UNLIMITED.rate_limits, connector } }
    await put('/policies/default', { policy })
    for (const name of ['shared', 'alone', 'again'])
      await put(`/connectors/${name}`, { connector: sinkConnector(sink.url) })
    await untilBothBeat()
  })
  afterAll(async () => {
    await second.stop()
    await hub.stop()
    await Promise.all([home.remove(), sink.stop(), redis.stop()])
    await database.drop()
  })

  const put = async (path: string, body: object) => {
    const change = {
      method: 'PUT',
      token: hub.tokens.control,
      body: { ...body, reason: 'one limit for all' },
    }
    expect((await call(`${home.urls.control}${path}`, change)).status).toBe(200)
  }
  /** From then on each of them knows that they are two. */
  const untilBothBeat = async () => {
    const from = Date.now()
    await vi.waitFor(async () => {
      expect(await redis.ask('ZCOUNT', NODES, String(from), '+inf')).toBe(2)
    }, WITHIN)
  }
  const areDegraded = (degraded: boolean) =>
    vi.waitFor(async () => {
      for (const url of execs) {
        const metrics = await (await fetch(`${url}/metrics`)).text()
        expect(metrics).toMatch(
          new RegExp(`^orchestrator_shared_store_degraded\\{.*\\} ${degraded ? 1 : 0}$`, 'm'),
        )
      }
    }, WITHIN)

  const execute = (url: string, connector: string, at: number): Promise<Answer> =>
    call(`${url}/execute`, {
      token: hub.tokens.exec,
      headers: { 'idempotency-key': `${connector}-${new URL(url).port}-${at}` },
      body: { ...taking(`${connector}-${at}`), connector },
    })
  /** Calls on both at once; how many each let pass. Every other one must be told that the limit is reached. */
  const passedBy = (connector: string): Promise<number[]> =>
    Promise.all(
      execs.map(async (url) => {
        const answers = await Promise.all(
          Array.from({ length: CALLS }, (_, at) => execute(url, connector, at)),
        )
        const refused = answers.filter(({ status }) => status !== 200)
        expect(refused.filter(({ body }) => body.code !== 'rate_limited')).toEqual([])
        return CALLS - refused.length
      }),
    )

  test('let exactly the burst pass together', async () => {
    const [one = 0, two = 0] = await passedBy('shared')
    expect(one + two).toBe(OF_EXECUTIONS)
    expect(sink.effects).toHaveLength(OF_EXECUTIONS)
  })

  test('each hold their half while Redis is dead: nothing fails by it, nothing is unlimited', async () => {
    await redis.kill()
    await areDegraded(true)
    expect(await passedBy('alone')).toEqual([OF_EXECUTIONS_ALONE, OF_EXECUTIONS_ALONE])
  })

  test('share again when it is back', async () => {
    await redis.restart()
    await areDegraded(false)
    const [one = 0, two = 0] = await passedBy('again')
    expect(one + two).toBe(OF_EXECUTIONS)
  })
})
