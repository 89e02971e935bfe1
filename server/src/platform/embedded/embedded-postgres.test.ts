import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { query, runs, spawnHub } from '../../../testing/embedded-process.ts'
import { createLog } from '../log.ts'
import { StartRefused } from '../start-refused.ts'
import { locatePackage } from './binaries.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded-postgres.ts'
import { chooseRunAs } from './run-as.ts'

const log = createLog('test', 'silent')
let parent: string
/** Made once and used by all: some file systems need a second for every fresh cluster that is removed. */
let dataDir: string
let running: EmbeddedPostgres | undefined

beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'orchestrator embedded $HOME "quoted" '))
  dataDir = join(parent, 'shared')
})
afterAll(() => rm(parent, { recursive: true }))
afterEach(stop)

async function start(): Promise<EmbeddedPostgres> {
  running = await startEmbeddedPostgres({ dataDir, log, settings: { shared_buffers: '16MB' } })
  return running
}
async function stop(): Promise<void> {
  await running?.stop()
  running = undefined
}
const portOf = (url: string) => Number(new URL(url).port)

describe('a started server', () => {
  test('has an unprivileged owner, Unicode, durable settings and no way in but loopback with a password', async () => {
    const { url, adminUrl } = await start()
    expect(
      await query(
        url,
        `select current_database() as database, current_user as role, current_setting('is_superuser') as superuser,
                lower('ÄЖ') as lower, current_setting('fsync') as fsync,
                current_setting('synchronous_commit') as synchronous_commit,
                current_setting('listen_addresses') as addresses`,
      ),
    ).toEqual([
      {
        database: 'orchestrator',
        role: 'orchestrator',
        superuser: 'off',
        lower: 'äж',
        fsync: 'on',
        synchronous_commit: 'on',
        addresses: '127.0.0.1',
      },
    ])
    expect(
      await query(
        adminUrl,
        `select distinct auth_method, current_setting('unix_socket_directories') as sockets from pg_hba_file_rules`,
      ),
    ).toEqual([{ auth_method: 'scram-sha-256', sockets: '' }])
    const wrong = new URL(url)
    wrong.password = 'wrong'
    await expect(query(wrong.href, 'select 1')).rejects.toThrow('password authentication failed')
  })

  test('keeps its passwords for its owner alone and its port below the ephemeral ones', async () => {
    const { url } = await start()
    const file = join(dataDir, 'data', 'orchestrator-passwords.json')
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(JSON.parse(await readFile(file, 'utf8')).owner).toBe(new URL(url).password)
    expect(portOf(url)).toBeLessThan(32_768)
  })
})

test('the next start finds the data, the password and the port of the last; stop leaves no process', async () => {
  const first = await start()
  await query(first.url, 'create table kept as select 42 as x')
  const { pid } = first
  await Promise.all([first.stop(), first.stop()])
  expect(runs(pid)).toBe(false)
  const second = await start()
  expect(second.url).toBe(first.url)
  expect(await query(second.url, 'select x from kept')).toEqual([{ x: 42 }])
})

test('a relative data folder is the same folder', async () => {
  const { url } = await start()
  await stop()
  running = await startEmbeddedPostgres({ dataDir: relative(process.cwd(), dataDir), log })
  expect(running.url).toBe(url)
})

test('a port that a stranger took is chosen anew, and the new one is kept', async () => {
  const first = await start()
  await stop()
  const stranger = await new Promise<Server>((resolve) => {
    const server = createServer().listen(portOf(first.url), '127.0.0.1', () => resolve(server))
  })
  const second = await start()
  await stop()
  await new Promise((closed) => stranger.close(closed))
  expect(portOf(second.url)).not.toBe(portOf(first.url))
  expect((await start()).url).toBe(second.url)
})

test('a folder that a live hub uses is refused, with the pid of that hub', async () => {
  const hub = spawnHub({ dataDir })
  const { pid, failure } = await hub.started
  expect(failure).toBeUndefined()
  await expect(start()).rejects.toThrow(`in use by another running Orchestrator (process ${hub.child.pid})`)
  expect(runs(pid)).toBe(true)
  await hub.stop()
  expect(runs(pid)).toBe(false)
  await start()
})

describe('what only a person can decide is refused with a sentence', () => {
  test('a cluster of another major version', async () => {
    const file = join(dataDir, 'data', 'PG_VERSION')
    const version = await readFile(file, 'utf8')
    await writeFile(file, '17\n')
    await expect(start()).rejects.toThrow(/made by Postgres 17, .* brings Postgres 18/)
    await writeFile(file, version)
    await start()
  })

  test('lost passwords', async () => {
    const file = join(dataDir, 'data', 'orchestrator-passwords.json')
    await rename(file, `${file}.lost`)
    await expect(start()).rejects.toThrow('passwords are missing')
    await rename(`${file}.lost`, file)
    await start()
  })

  test('a folder with something else in it, which stays as it is', async () => {
    const foreign = join(parent, 'foreign')
    await mkdir(join(foreign, 'data'), { recursive: true })
    await writeFile(join(foreign, 'data', 'holiday.jpg'), '')
    await expect(startEmbeddedPostgres({ dataDir: foreign, log })).rejects.toThrow(
      'neither empty nor a Postgres data folder',
    )
    await stat(join(foreign, 'data', 'holiday.jpg'))
  })

  test('a server in the folder that is not ours, which goes on running', async () => {
    const port = String(portOf((await start()).url))
    await stop()
    const runAs = await chooseRunAs()
    const program = join(locatePackage(), 'native/bin/postgres')
    const stranger = runAs.start(program, ['-D', join(dataDir, 'data'), '-p', port, '-k', ''], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const ended = new Promise((resolve) => stranger.once('close', resolve))
    await new Promise<void>((resolve) =>
      stranger.stderr?.on('data', (text: Buffer) => String(text).includes('ready to accept') && resolve()),
    )
    try {
      await expect(start()).rejects.toThrow(`did not start (process ${stranger.pid})`)
      expect(stranger.exitCode).toBeNull()
    } finally {
      stranger.kill('SIGINT')
      await ended
    }
  })

  test('settings that Postgres refuses, with its own words', async () => {
    const failure = await startEmbeddedPostgres({ dataDir, log, settings: { shared_buffers: 'lots' } }).catch(
      (error: unknown) => error,
    )
    expect(failure).toBeInstanceOf(StartRefused)
    expect(String(failure)).toContain('invalid value for parameter "shared_buffers": "lots"')
    await start()
  })
})
