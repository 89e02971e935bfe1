/**
 * A real S3 server for tests: OpenStack Swift with its S3 API (it verifies signatures, unlike the servers that npm
 * has), on ports and in a folder of its own, ended by its own pids.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { isMissing } from './required.ts'

const PROGRAMS = [
  'swift-proxy-server',
  'swift-account-server',
  'swift-container-server',
  'swift-object-server',
  'swift-ring-builder',
  'memcached',
]
const PACKAGES = 'swift swift-proxy swift-account swift-container swift-object memcached'
const START_MS = 40_000
const run = promisify(execFile)

/** The users of the server: it takes their names and passwords as keys. The second may do nothing in the bucket. */
export const S3_KEYS = { access_key_id: 'test:tester', secret_access_key: 'testing-canary-7c1f' }
export const S3_STRANGER = { access_key_id: 'other:stranger', secret_access_key: 'stranger-canary-9b2e' }
export const S3_REGION = 'us-east-1'

/** False on a machine without the server, which has been said aloud. Where `ORCH_REQUIRE` asks for it, there is no false. */
export const HAS_S3 = !isMissing(
  's3',
  'a real S3 server',
  PROGRAMS.every(isOnPath)
    ? undefined
    : `not all of ${PROGRAMS.join(', ')} are on the PATH (apt-get install ${PACKAGES})`,
)

function isOnPath(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

export interface S3Server {
  readonly endpoint: string
  stop(): Promise<void>
}

export async function startS3(): Promise<S3Server> {
  const folder = await mkdtemp(join(tmpdir(), 'orchestrator-test-s3-'))
  const running: ChildProcess[] = []
  let output = ''
  const end = (): void => {
    for (const child of running) child.kill('SIGKILL')
  }
  process.once('exit', end)
  const start = (program: string, ...args: string[]): void => {
    const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-4_000)
      })
    child.on('error', (error) => {
      output += String(error)
    })
    running.push(child)
  }
  const stop = async (): Promise<void> => {
    process.off('exit', end)
    await Promise.all(
      running.map(async (child) => {
        if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
        const gone = once(child, 'exit')
        child.kill('SIGKILL')
        await gone
      }),
    )
    await rm(folder, { recursive: true, force: true })
  }

  try {
    await chmod(folder, 0o755)
    const [proxy, account, container, object, cache] = await freePorts(5)
    const rings = Object.entries({ account, container, object })
    await Promise.all(rings.map(([name, port]) => writeRing(folder, name, Number(port))))
    await writeFile(
      join(folder, 'swift.conf'),
      '[swift-hash]\nswift_hash_path_prefix = orchestrator\nswift_hash_path_suffix = test\n',
    )
    for (const [name, port] of rings) {
      await mkdir(join(folder, 'node', 'd1'), { recursive: true })
      await writeFile(join(folder, `${name}.conf`), backend(folder, name, Number(port)))
      start(`swift-${name}-server`, join(folder, `${name}.conf`), '-v')
    }
    // A proxy that once finds a backend missing leaves it alone for a minute.
    await Promise.all(rings.map(([, port]) => untilItAnswers(`http://127.0.0.1:${port}/`, running)))
    start('memcached', '-l', '127.0.0.1', '-p', String(cache), '-m', '16', '-u', userInfo().username)
    await writeFile(join(folder, 'proxy.conf'), frontend(folder, Number(proxy), Number(cache)))
    start('swift-proxy-server', join(folder, 'proxy.conf'), '-v')
    const endpoint = `http://127.0.0.1:${proxy}`
    await untilItAnswers(`${endpoint}/healthcheck`, running)
    return { endpoint, stop }
  } catch (error) {
    await stop()
    throw new Error(`no S3 server: ${String(error)}\n${output}`)
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

async function writeRing(folder: string, name: string, port: number): Promise<void> {
  const builder = join(folder, `${name}.builder`)
  const build = (...args: string[]) => run('swift-ring-builder', [builder, ...args], { cwd: folder })
  await build('create', '6', '1', '1')
  await build('add', `r1z1-127.0.0.1:${port}/d1`, '1')
  await build('rebalance')
}

const common = (folder: string, port: number) => `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
swift_dir = ${folder}
user = ${userInfo().username}
workers = 0
log_level = WARNING
log_address = ${folder}/no-syslog
`

const backend = (
  folder: string,
  name: string,
  port: number,
): string => `${common(folder, port)}devices = ${folder}/node
mount_check = false
fallocate_reserve = 0
disable_fallocate = true

[pipeline:main]
pipeline = ${name}-server

[app:${name}-server]
use = egg:swift#${name}
`

const frontend = (folder: string, port: number, cache: number): string => `${common(folder, port)}
[pipeline:main]
pipeline = catch_errors healthcheck cache listing_formats s3api tempauth copy slo dlo versioned_writes symlink proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 10
node_timeout = 30
error_suppression_limit = 1000000

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = ${S3_KEYS.secret_access_key} .admin
user_other_stranger = ${S3_STRANGER.secret_access_key}

[filter:s3api]
use = egg:swift#s3api
location = ${S3_REGION}
check_bucket_owner = true

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${cache}

${['catch_errors', 'healthcheck', 'listing_formats', 'copy', 'slo', 'dlo', 'versioned_writes', 'symlink']
  .map((name) => `[filter:${name}]\nuse = egg:swift#${name}\n`)
  .join('\n')}`

async function untilItAnswers(url: string, running: readonly ChildProcess[]): Promise<void> {
  const deadline = performance.now() + START_MS
  for (;;) {
    const dead = running.find((child) => child.exitCode !== null || child.signalCode !== null)
    if (dead) throw new Error(`${dead.spawnfile} ended by itself`)
    const answered = await fetch(url).then(
      () => true,
      () => false,
    )
    if (answered) return
    if (performance.now() > deadline) throw new Error('it did not answer in time')
    await delay(50)
  }
}
