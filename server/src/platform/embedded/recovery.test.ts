import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { killHard, query, runs, spawnHub } from '../../../testing/embedded-process.ts'
import { createLog } from '../log.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded-postgres.ts'
import { processesIn } from './process-table.ts'

const log = createLog('test', 'silent')
let parent: string
/** One cluster that goes through it all: some file systems need a second for every fresh one that is removed. */
let dataDir: string
let running: EmbeddedPostgres | undefined

beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'orchestrator-recovery-'))
  dataDir = join(parent, 'shared')
})
afterAll(() => rm(parent, { recursive: true }))
afterEach(async () => {
  await running?.stop()
  running = undefined
  expect(await processesIn([join(dataDir, 'data')], ['postgres'])).toEqual([])
})

async function start(home = dataDir): Promise<EmbeddedPostgres> {
  running = await startEmbeddedPostgres({ dataDir: home, log })
  return running
}
const WRITE = 'create table if not exists kept (x int); truncate kept; insert into kept values (42)'
const READ = 'select x from kept'

describe('after kill -9 of the hub', () => {
  test('its orphaned server is stopped and what it committed is there', async () => {
    const hub = spawnHub({ dataDir })
    const { pid, url } = await hub.started
    await query(url, WRITE)
    await killHard(hub.child)
    expect(runs(pid)).toBe(true)
    const next = await start()
    expect(runs(pid)).toBe(false)
    expect(await query(next.url, READ)).toEqual([{ x: 42 }])
    expect(next.url).toBe(url)
  })

  test('and of its server, a stale pid file is no obstacle, not even with the pid of somebody alive', async () => {
    const hub = spawnHub({ dataDir })
    const { pid, url } = await hub.started
    await query(url, WRITE)
    await killHard(hub.child)
    process.kill(pid, 'SIGKILL')
    await vi.waitFor(() => expect(runs(pid)).toBe(false))
    const pidFile = join(dataDir, 'data', 'postmaster.pid')
    await stat(pidFile)
    // A container that starts again gives the same small pids to other programs.
    await writeFile(pidFile, `${process.ppid}\n${join(dataDir, 'data')}\n1\n1\n\n127.0.0.1\n`)
    expect(await query((await start()).url, READ)).toEqual([{ x: 42 }])
  })

  test('in the middle of the very first start', async () => {
    const fresh = join(parent, 'cut-short')
    const hub = spawnHub({ dataDir: fresh })
    // Its promise is never kept: the process dies before.
    hub.started.catch(() => undefined)
    await vi.waitFor(async () => expect((await readdir(fresh)).join()).toContain('new-'), {
      timeout: 10_000,
      interval: 5,
    })
    await killHard(hub.child)
    expect(await readdir(fresh)).not.toContain('data')
    await query((await start(fresh)).url, WRITE)
    expect((await readdir(fresh)).join()).not.toContain('new-')
  })
})

test('a half-made cluster and an empty data folder are removed and made anew', async () => {
  const fresh = join(parent, 'half-made')
  await mkdir(join(fresh, 'new-abc', 'data', 'base'), { recursive: true })
  await writeFile(join(fresh, 'new-abc', 'data', 'PG_VERSION'), '18\n')
  await mkdir(join(fresh, 'data'))
  await query((await start(fresh)).url, WRITE)
  expect(await readdir(fresh)).not.toContain('new-abc')
})

test('a first start that ended before it made the database is finished by the next', async () => {
  const { adminUrl, stop } = await start()
  await query(adminUrl, 'drop database orchestrator')
  await query(adminUrl, 'drop role orchestrator')
  await stop()
  await query((await start()).url, WRITE)
})

test('a broken port file is no obstacle', async () => {
  await (await start()).stop()
  await writeFile(join(dataDir, 'port'), 'x')
  await query((await start()).url, WRITE)
})

describe('while the hub runs', () => {
  test('a server that was killed comes back at the same address with what it committed', async () => {
    const postgres = await start()
    const { pid, url } = postgres
    await query(url, WRITE)
    process.kill(pid, 'SIGKILL')
    await vi.waitFor(async () => expect(await query(url, READ)).toEqual([{ x: 42 }]), { timeout: 15_000 })
    expect(postgres.pid).not.toBe(pid)
  })

  test('one that is killed again and again is given up, and stop still works', async () => {
    const postgres = await start()
    let lost: Error | undefined
    postgres.lost.then((error) => {
      lost = error
    })
    for (let kills = 0; kills < 4; kills += 1) {
      const { pid, url } = postgres
      await vi.waitFor(() => query(url, 'select 1'), { timeout: 15_000 })
      process.kill(pid, 'SIGKILL')
      await vi.waitFor(() => expect(lost !== undefined || postgres.pid !== pid).toBe(true), {
        timeout: 15_000,
      })
    }
    expect(lost?.message).toContain('ended 4 times within a minute')
  })

  test('stop right after a kill ends for good', async () => {
    const postgres = await start()
    process.kill(postgres.pid, 'SIGKILL')
    await postgres.stop()
    expect(runs(postgres.pid)).toBe(false)
  })

  test('Ctrl-C, which a terminal sends to the whole process group, does not reach the server', async () => {
    const hub = spawnHub({ dataDir })
    const { url, pid } = await hub.started
    process.kill(-Number(hub.child.pid), 'SIGINT')
    // Were it stopping, it would refuse a second connection at the latest.
    await query(url, 'select pg_sleep(0.1)')
    await query(url, 'select 1')
    expect(runs(pid)).toBe(true)
    await hub.stop()
    expect(runs(pid)).toBe(false)
  })

  test('a hub that exits without stopping takes its server with it', async () => {
    const hub = spawnHub({ dataDir, exitAfterStart: true })
    const { pid } = await hub.started
    await vi.waitFor(() => expect(runs(pid)).toBe(false), { timeout: 15_000 })
  })
})
