/** Who may make calls beside whom: limits in memory hold for one Node process only (DESIGN §4). */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { HAS_REDIS, type RedisServer, startRedis } from '../server/testing/redis.ts'
import { type HubHome, hubHome, type RunningCommand, runCli, startHub, startRole } from './hub-process.ts'

const WITHIN = { timeout: 20_000, interval: 50 }

let database: { readonly url: string; drop(): Promise<void> }
/** Places of their own for the same hub: as on several hosts. */
const homes: HubHome[] = []
const running: RunningCommand[] = []

beforeAll(async () => {
  database = await emptyDatabase()
  expect((await runCli(await place(), 'migrate')).code).toBe(0)
})
afterAll(async () => {
  await Promise.all(running.map((command) => command.stop()))
  await Promise.all(homes.map((home) => home.remove()))
  await database.drop()
})

async function place(env: Readonly<Record<string, string>> = {}): Promise<HubHome> {
  const home = await hubHome({ DATABASE_URL: database.url, ...env })
  homes.push(home)
  return home
}

async function start(home: HubHome, role: 'exec' | 'worker'): Promise<RunningCommand> {
  const command = await startRole(home, role)
  running.push(command)
  return command
}

const stopAll = () => Promise.all(running.splice(0).map((command) => command.stop()))

interface Readiness {
  readonly ready: boolean
  readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly detail?: string }[]
}
const readiness = async (url: string): Promise<Readiness> => {
  const answer = await fetch(`${url}/ready`)
  return (await answer.json()) as Readiness
}
const metric = async (url: string, name: string): Promise<string | undefined> => {
  const answer = await fetch(`${url}/metrics`)
  return new RegExp(`^orchestrator_${name}\\{.*\\} (\\S+)$`, 'm').exec(await answer.text())?.[1]
}

describe('without Redis', () => {
  test('a second process that makes calls is refused, and told what to do', async () => {
    const home = await place()
    const first = await start(home, 'worker')
    const endings = ['exec', 'worker', 'all'].map(async (role) => runCli(await place(), 'start', role))
    for (const { code, stderr } of await Promise.all(endings)) {
      expect(stderr).toContain('orchestrator worker node at 127.0.0.1')
      expect(stderr).toContain('Set REDIS_URL')
      expect(stderr).toContain('LIMITS=per-node')
      expect(stderr).not.toMatch(/^\s+at /m)
      expect(code).toBe(1)
    }
    expect((await readiness(home.urls.worker)).ready).toBe(true)
    await first.killHard()
    running.splice(0)
  })

  test('the successor of one that was killed starts', async () => {
    const first = await start(await place(), 'exec')
    await first.killHard()
    running.splice(0)
    await start(await place(), 'exec')
    await stopAll()
  })

  test('several start where limits per node are chosen; one that has not chosen is refused beside them', async () => {
    const chosen = { LIMITS: 'per-node' }
    await Promise.all([start(await place(chosen), 'worker'), start(await place(chosen), 'exec')])
    await start(await place(chosen), 'exec')
    expect((await runCli(await place(), 'start', 'worker')).stderr).toContain('LIMITS=per-node')
    await stopAll()
  })
})

describe.skipIf(!HAS_REDIS)('with Redis', () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.stop())

  test('several start, name it, and stay ready without it', async () => {
    const shared = { REDIS_URL: redis.url }
    const places = [await place(shared), await place(shared), await place(shared)] as const
    await Promise.all([start(places[0], 'exec'), start(places[1], 'exec'), start(places[2], 'worker')])
    const urls = [places[0].urls.exec, places[1].urls.exec, places[2].urls.worker]
    for (const url of urls)
      await vi.waitFor(async () => {
        expect((await readiness(url)).checks).toContainEqual({ name: 'redis', ok: true })
        expect(await metric(url, 'shared_store_degraded')).toBe('0')
      }, WITHIN)
    await redis.kill()
    for (const url of urls)
      await vi.waitFor(async () => {
        const { ready, checks } = await readiness(url)
        expect(ready).toBe(true)
        expect(checks).toContainEqual({
          name: 'redis',
          ok: false,
          detail: 'not usable; without it, each process holds its part of every limit',
        })
        expect(await metric(url, 'shared_store_degraded')).toBe('1')
      }, WITHIN)
    await redis.restart()
    for (const url of urls)
      await vi.waitFor(async () => expect(await metric(url, 'shared_store_degraded')).toBe('0'), WITHIN)
    await stopAll()
  })

  test('the whole hub in one process joins the others, and its exec and worker tell of one store', async () => {
    const home = await place({ REDIS_URL: redis.url })
    await start(await place({ REDIS_URL: redis.url }), 'exec')
    running.push(await startHub(home))
    for (const url of [home.urls.exec, home.urls.worker])
      await vi.waitFor(async () => expect(await metric(url, 'shared_store_degraded')).toBe('0'), WITHIN)
    expect((await readiness(home.urls.control)).checks.map(({ name }) => name)).not.toContain('redis')
    const nodes = await redis.ask('ZCARD', '{orchestrator:dev}:nodes')
    expect(nodes).toBe(2)
    await stopAll()
    expect(await redis.ask('ZCARD', '{orchestrator:dev}:nodes')).toBe(0)
  })

  test('doctor finds it, and says what is wrong with one that is away', async () => {
    const home = await place({ REDIS_URL: redis.url })
    expect((await runCli(home, 'doctor')).stdout).toMatch(/^ok {4}redis +127\.0\.0\.1:\d+ \(single\)$/m)
    await redis.kill()
    const { code, stdout } = await runCli(home, 'doctor')
    expect(stdout).toMatch(/^FAIL {2}redis .*ECONNREFUSED.*\n +→ Is REDIS_URL right/m)
    expect(code).toBe(1)
    await redis.restart()
  })

  test('a process starts although Redis is away', async () => {
    await redis.kill()
    const home = await place({ REDIS_URL: redis.url })
    await start(home, 'exec')
    expect(await readiness(home.urls.exec)).toMatchObject({ ready: true })
    await redis.restart()
    await vi.waitFor(
      async () => expect(await metric(home.urls.exec, 'shared_store_degraded')).toBe('0'),
      WITHIN,
    )
    await stopAll()
  })
})
