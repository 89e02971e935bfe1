/**
 * Real Redis servers for tests: on ports of their own, in folders of their own, ended by their own pid. The program is
 * the one that `ORCH_TEST_REDIS_SERVER` names, or `redis-server` on the PATH.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants, statSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createClient } from '@redis/client'
import { isFree } from '../src/platform/embedded/port.ts'
import { isMissing } from './required.ts'

const PROGRAM = findProgram()
const START_MS = 15_000

/** False on a machine without Redis, which has been said aloud. Where `ORCH_REQUIRE` asks for it, there is no false. */
export const HAS_REDIS = PROGRAM !== undefined

export interface RedisServer {
  readonly port: number
  readonly url: string
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>
  /** After `kill`: starts it again on the same port, empty. */
  restart(): Promise<void>
  /** SIGSTOP: it holds its connections and answers nothing. */
  freeze(): void
  thaw(): void
  /** Sends one command on a connection of its own. */
  ask(...command: string[]): Promise<unknown>
  stop(): Promise<void>
}

export interface RedisCluster {
  /** For `REDIS_URL`. */
  readonly url: string
  readonly nodes: readonly RedisServer[]
  stop(): Promise<void>
}

function findProgram(): string | undefined {
  const { ORCH_TEST_REDIS_SERVER: named, PATH = '' } = process.env
  const candidates = named ? [named] : PATH.split(delimiter).map((folder) => join(folder, 'redis-server'))
  const found = candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return statSync(path).isFile()
    } catch {
      return false
    }
  })
  if (found !== undefined) return found
  const said =
    'no redis-server on the PATH, and ORCH_TEST_REDIS_SERVER names none (apt-get install redis-server)'
  isMissing('redis', 'a real Redis', said)
  return undefined
}

/** Starts a server that keeps nothing on disk. `settings` are more of its options, e.g. `{ requirepass: 'x' }`. */
export async function startRedis(settings: Readonly<Record<string, string>> = {}): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'orchestrator-test-redis-'))
  const port = await freePort()
  let server: ChildProcess | undefined
  const end = (): void => {
    server?.kill('SIGKILL')
  }
  process.once('exit', end)
  const run = async (): Promise<void> => {
    server = await launch(folder, { port: String(port), ...settings })
    await untilItAnswers(port, settings.requirepass)
  }
  const kill = async (): Promise<void> => {
    if (server?.exitCode !== null || server.signalCode !== null) return
    const gone = once(server, 'exit')
    server.kill('SIGKILL')
    await gone
  }
  const stop = async (): Promise<void> => {
    process.off('exit', end)
    await kill()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  try {
    await run()
  } catch (error) {
    await stop()
    throw error
  }
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    kill,
    restart: run,
    freeze: () => void server?.kill('SIGSTOP'),
    thaw: () => void server?.kill('SIGCONT'),
    ask: (...command) => askOnce(port, command, settings.requirepass),
    stop,
  }
}

/** A Redis Cluster of three masters; with `spare`, the fourth node follows the first and takes its place. */
export async function startRedisCluster({ spare = false } = {}): Promise<RedisCluster> {
  const nodes: RedisServer[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()))
  }
  try {
    for (let at = 0; at < (spare ? 4 : 3); at += 1)
      nodes.push(
        await startRedis({
          'cluster-enabled': 'yes',
          'cluster-config-file': 'nodes.conf',
          'cluster-node-timeout': '1000',
          'repl-diskless-sync-delay': '0',
          'cluster-port': String(await freePort()),
        }),
      )
    await joinThem(nodes)
  } catch (error) {
    await stop()
    throw error
  }
  return { url: nodes.map(({ url }) => url).join(','), nodes, stop }
}

const SLOTS = 16_384

const MASTERS = 3

async function joinThem(nodes: readonly RedisServer[]): Promise<void> {
  for (const [at, node] of nodes.entries()) {
    await node.ask('CLUSTER', 'SET-CONFIG-EPOCH', String(at + 1))
    if (at < MASTERS) {
      const [from, next] = [at, at + 1].map((share) => Math.floor((SLOTS * share) / MASTERS)) as [
        number,
        number,
      ]
      await node.ask('CLUSTER', 'ADDSLOTSRANGE', String(from), String(next - 1))
    }
    const bus = String(await node.ask('CONFIG', 'GET', 'cluster-port').then(firstValue))
    for (const other of nodes.slice(0, at))
      await other.ask('CLUSTER', 'MEET', '127.0.0.1', String(node.port), bus)
  }
  const together = new RegExp(`cluster_state:ok[\\s\\S]*cluster_known_nodes:${nodes.length}\\b`)
  await until('the Redis Cluster does not come together', async () => {
    const infos = await Promise.all(nodes.map((node) => node.ask('CLUSTER', 'INFO')))
    return infos.every((info) => together.test(String(info)))
  })
  const spare = nodes[MASTERS]
  if (!spare) return
  await spare.ask('CLUSTER', 'REPLICATE', String(await nodes[0]?.ask('CLUSTER', 'MYID')))
  await until('the spare node does not follow', async () =>
    String(await spare.ask('INFO', 'replication')).includes('master_link_status:up'),
  )
}

async function until(failure: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + START_MS; !(await holds()); await delay(50))
    if (performance.now() > end) throw new Error(failure)
}

/** RESP3 answers CONFIG GET with a map. */
const firstValue = (reply: unknown): unknown =>
  reply instanceof Map ? [...reply.values()][0] : Object.values(reply as object)[0]

async function launch(folder: string, settings: Readonly<Record<string, string>>): Promise<ChildProcess> {
  if (PROGRAM === undefined) throw new Error('there is no redis-server: ask HAS_REDIS before')
  const dir = join(folder, 'data')
  await rm(dir, { recursive: true, force: true })
  await mkdir(dir)
  const all = { bind: '127.0.0.1', dir, save: '', appendonly: 'no', daemonize: 'no', ...settings }
  const args = Object.entries(all).flatMap(([name, value]) => [`--${name}`, value])
  const server = spawn(PROGRAM, args, { stdio: 'ignore' })
  await once(server, 'spawn')
  return server
}

/** Below what the kernel gives to outgoing connections: a server that starts again finds its own free. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_240, 32_768)
    if (await isFree(port)) return port
  }
}

async function untilItAnswers(port: number, password: string | undefined): Promise<void> {
  await until('redis-server does not start', async () => {
    const answer = await askOnce(port, ['PING'], password).catch(() => undefined)
    return answer === 'PONG'
  })
}

async function askOnce(port: number, command: string[], password: string | undefined): Promise<unknown> {
  const client = createClient({
    ...(password !== undefined && { password }),
    maintNotifications: 'disabled',
    socket: { host: '127.0.0.1', port, reconnectStrategy: false },
  })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return await client.sendCommand(command)
  } finally {
    client.destroy()
  }
}
