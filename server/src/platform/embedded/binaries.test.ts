import { cp, lstat, mkdir, mkdtemp, readFile, readlink, rm, stat, symlink, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { copiedBinaries, linkedBinaries, locatePackage } from './binaries.ts'
import { chooseRunAs, runToEnd } from './run-as.ts'

let parent: string
let packageFolder: string
let links: string[]

beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'orchestrator-binaries-'))
  packageFolder = join(parent, 'package')
  await cp(locatePackage(), packageFolder, { recursive: true, verbatimSymlinks: true })
  const list = await readFile(join(packageFolder, 'native/pg-symlinks.json'), 'utf8')
  links = (JSON.parse(list) as { target: string }[]).map(({ target }) => join(packageFolder, target))
})
afterAll(() => rm(parent, { recursive: true }))
// As npm unpacks the package when install scripts are off.
beforeEach(() => Promise.all(links.map((link) => rm(link, { force: true }))))

const version = async (native: string) =>
  runToEnd(await chooseRunAs(), join(native, 'bin/postgres'), ['--version'])

test('missing links are made, whole ones are left alone, broken ones are replaced', async () => {
  const native = join(packageFolder, 'native')
  // Without links the program cannot even say its version: else the rest would prove nothing.
  expect(await version(native)).toMatchObject({ ok: false })
  expect(await linkedBinaries(packageFolder)).toBe(native)
  expect(await version(native)).toMatchObject({ ok: true })
  const [first, second] = links as [string, string]
  const before = await lstat(first)
  await unlink(second)
  await symlink('gone.so', second)
  await Promise.all([linkedBinaries(packageFolder), linkedBinaries(packageFolder)])
  expect((await lstat(first)).ctimeMs).toBe(before.ctimeMs)
  expect(await readlink(second)).not.toBe('gone.so')
})

test('a copy runs, is made once, is open to everybody, and replaces half a copy of a killed process', async () => {
  await mkdir(join(parent, 'home/binaries/new-abc'), { recursive: true })
  const native = await copiedBinaries(packageFolder, join(parent, 'home'))
  expect(await version(native)).toMatchObject({ ok: true })
  const program = await stat(join(native, 'bin/postgres'))
  expect(program.mode & 0o755).toBe(0o755)
  await expect(stat(join(parent, 'home/binaries/new-abc'))).rejects.toThrow('ENOENT')
  expect(await copiedBinaries(packageFolder, join(parent, 'home'))).toBe(native)
  expect((await stat(join(native, 'bin/postgres'))).ino).toBe(program.ino)
})
