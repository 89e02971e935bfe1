import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, constants, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { lockHome } from '../server/src/platform/embedded/hub-lock.ts'
import { choosePort } from '../server/src/platform/embedded/port.ts'

export interface RedisServers {
  readonly ports: { readonly always: number; readonly everysec: number }
  readonly pids: { readonly always: number; readonly everysec: number }
  stop(): Promise<void>
}

export const REDIS_PREFIX = 'orchestrator-bench-redis-'

/** The program named by REDIS_SERVER, or `redis-server` on the PATH; undefined when there is none. */
export async function findRedisServer(): Promise<string | undefined> {
  const { REDIS_SERVER, PATH = '' } = process.env
  const candidates = REDIS_SERVER
    ? [REDIS_SERVER]
    : PATH.split(delimiter).map((dir) => join(dir, 'redis-server'))
  for (const candidate of candidates)
    if (
      await access(candidate, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return candidate
  if (REDIS_SERVER) throw new Error(`REDIS_SERVER names ${REDIS_SERVER}, which cannot be run`)
  return undefined
}

/** Two servers that differ in `appendfsync` only. Ends what it started when one of them does not come up. */
export async function startRedisServers(program: string): Promise<RedisServers> {
  const always = await startRedis(program, 'always')
  try {
    const everysec = await startRedis(program, 'everysec')
    return {
      ports: { always: always.port, everysec: everysec.port },
      pids: { always: always.pid, everysec: everysec.pid },
      stop: async () => {
        await Promise.all([always.stop(), everysec.stop()])
      },
    }
  } catch (error) {
    await always.stop()
    throw error
  }
}

const START_MS = 10_000

async function startRedis(program: string, appendfsync: 'always' | 'everysec') {
  const folder = await mkdtemp(join(tmpdir(), REDIS_PREFIX))
  const lock = await lockHome(folder)
  const port = await choosePort(folder)
  const settings = {
    port,
    bind: '127.0.0.1',
    dir: folder,
    appendonly: 'yes',
    appendfsync,
    // No snapshots beside the log, and never evict: BullMQ's guide for production.
    save: '',
    'maxmemory-policy': 'noeviction',
    daemonize: 'no',
    loglevel: 'warning',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])
  const server = spawn(program, args, { stdio: 'ignore' })
  const end = () => server.kill('SIGKILL')
  process.once('exit', end)
  const stop = async (): Promise<void> => {
    process.off('exit', end)
    if (server.exitCode === null && server.signalCode === null) {
      const gone = once(server, 'exit')
      server.kill('SIGTERM')
      await gone
    }
    lock.release()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  try {
    await untilItAnswers(server, port, appendfsync)
  } catch (error) {
    await stop()
    throw error
  }
  return { port, pid: server.pid ?? 0, stop }
}

async function untilItAnswers(server: ChildProcess, port: number, appendfsync: string): Promise<void> {
  const client = new Redis({ host: '127.0.0.1', port, lazyConnect: true, retryStrategy: null })
  client.on('error', () => undefined)
  try {
    for (const until = performance.now() + START_MS; ; ) {
      const answer = await client
        .connect()
        .then(() => client.config('GET', 'appendfsync'))
        .catch(() => undefined)
      if (Array.isArray(answer) && answer[1] === appendfsync) return
      if (server.exitCode !== null || performance.now() > until)
        throw new Error('redis-server does not start')
      await delay(50)
    }
  } finally {
    client.disconnect()
  }
}
