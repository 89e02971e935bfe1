import { chmod, chown, cp, mkdir, mkdtemp, readFile, rm, stat, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { query, spawnHub } from '../../../testing/embedded-process.ts'
import { createLog } from '../log.ts'
import { locatePackage } from './binaries.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded-postgres.ts'
import { canEnter, chooseRunAs, runToEnd } from './run-as.ts'

// What needs root is skipped without it: then every other test here runs as an ordinary user anyway.
const isRoot = process.getuid?.() === 0
const NOBODY = 65_534
const asNobody = await chooseRunAs({ userNamespaces: false })
const namespaces = isRoot && (await chooseRunAs()).label.includes('namespace')
const nobodyReadsUs = isRoot && (await canEnter(asNobody, import.meta.dirname))

const log = createLog('test', 'silent')
let parent: string
let running: EmbeddedPostgres | undefined

beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'orchestrator-users-'))
  await chmod(parent, 0o755)
})
afterAll(() => rm(parent, { recursive: true }))
afterEach(stop)

async function start(
  dataDir: string,
  options: { userNamespaces?: boolean; packageFolder?: string } = {},
): Promise<EmbeddedPostgres> {
  running = await startEmbeddedPostgres({ dataDir, log, ...options })
  return running
}
async function stop(): Promise<void> {
  await running?.stop()
  running = undefined
}
const ownerOf = async (dataDir: string) => (await stat(join(dataDir, 'data'))).uid
const processOwner = async (pid: number) =>
  Number(/^Uid:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1])

test('programs get a clean environment', async () => {
  const { output } = await runToEnd(await chooseRunAs(), '/usr/bin/env', [])
  expect(output.split('\n').map((line) => line.split('=')[0])).toEqual(['PATH', 'LC_ALL', 'TZ'])
})

describe.runIf(namespaces)('root with user namespaces', () => {
  test('keeps the data below a folder that is closed to all others', async () => {
    const closed = join(parent, 'closed')
    await mkdir(closed, { mode: 0o700 })
    const postgres = await start(join(closed, 'postgres'))
    expect(await ownerOf(join(closed, 'postgres'))).toBe(0)
    await query(postgres.url, 'create table kept ()')
  })
})

describe.runIf(isRoot)('root without user namespaces', () => {
  test('runs as nobody, also on a cluster that root made before, and the other way round', async () => {
    const dataDir = join(parent, 'changing')
    await query((await start(dataDir)).url, 'create table kept ()')
    await stop()
    const postgres = await start(dataDir, { userNamespaces: false })
    expect(await processOwner(postgres.pid)).toBe(NOBODY)
    await query(postgres.url, 'select from kept')
    await stop()
    // A folder that was taken over half-way: its top is changed last.
    await chown(join(dataDir, 'data', 'base'), 0, 0)
    await chown(join(dataDir, 'data'), 0, 0)
    await query((await start(dataDir, { userNamespaces: false })).url, 'select from kept')
    await stop()
    expect(await processOwner((await start(dataDir)).pid)).toBe(NOBODY)
  })

  test('copies binaries that nobody cannot reach', async () => {
    const closed = join(parent, 'closed-package')
    await mkdir(closed, { mode: 0o700 })
    const packageFolder = join(closed, 'package')
    await symlink(locatePackage(), packageFolder)
    const dataDir = join(parent, 'copying')
    const postgres = await start(dataDir, { userNamespaces: false, packageFolder })
    await query(postgres.url, 'create table kept ()')
    await stat(join(dataDir, 'binaries'))
  })

  test('says so when nobody cannot reach the data folder', async () => {
    const closed = join(parent, 'closed-data')
    await mkdir(closed, { mode: 0o700 })
    await expect(start(join(closed, 'postgres'), { userNamespaces: false })).rejects.toThrow(
      /user nobody here, and that user cannot enter .*closed-data\/postgres/,
    )
  })
})

describe.runIf(nobodyReadsUs)('an ordinary user', () => {
  const as = { uid: NOBODY, gid: NOBODY }

  test('starts it, also with a package that is not linked and not writable; root then leaves it the data', async () => {
    const packageFolder = join(parent, 'package')
    await cp(locatePackage(), packageFolder, { recursive: true, verbatimSymlinks: true })
    await rm(join(packageFolder, 'native/lib/libicuuc.so.60'), { force: true })
    const dataDir = join(parent, 'ordinary')
    await mkdir(dataDir)
    await chown(dataDir, NOBODY, NOBODY)

    const hub = spawnHub({ dataDir, packageFolder }, as)
    const { url, failure } = await hub.started
    expect(failure).toBeUndefined()
    await query(url, 'create table kept ()')
    await hub.stop()
    await stat(join(dataDir, 'binaries'))

    await query((await start(dataDir)).url, 'select from kept')
    await stop()
    const again = spawnHub({ dataDir, packageFolder }, as)
    await query((await again.started).url, 'select from kept')
    await again.stop()
  })

  test("is told about a folder of root's", async () => {
    const dataDir = join(parent, 'of-root')
    await mkdir(dataDir)
    const { failure } = await spawnHub({ dataDir }, as).started
    expect(failure).toContain('start Orchestrator as the user who owns it')
  })
})
