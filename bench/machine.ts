import { execFile } from 'node:child_process'
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { readFile, rm, statfs } from 'node:fs/promises'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { percentile, sorted } from './statistics.ts'

const FSYNCS = 200
/** statfs(2), f_type. */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  61267: 'ext4',
  16914836: 'tmpfs',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  2035054128: 'overlayfs',
}

/** What the numbers depend on most. */
export async function machineFacts(): Promise<Record<string, string>> {
  const { type } = await statfs(tmpdir())
  return {
    cores: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: release(),
    node: process.version,
    'data on': `${FILE_SYSTEMS[type] ?? `file system 0x${type.toString(16)}`} (folder for temporary files)`,
    fsync: `${await fsyncMicroseconds()} µs (median of ${FSYNCS})`,
  }
}

/** One page written and synced again and again, as a commit does it. */
async function fsyncMicroseconds(): Promise<number> {
  const path = join(tmpdir(), `orchestrator-bench-fsync-${process.pid}`)
  const page = Buffer.alloc(8_192, 1)
  const file = openSync(path, 'w')
  try {
    const took = Array.from({ length: FSYNCS }, () => {
      const started = performance.now()
      writeSync(file, page)
      fsyncSync(file)
      return (performance.now() - started) * 1_000
    })
    return Math.round(percentile(sorted(took), 0.5))
  } finally {
    closeSync(file)
    await rm(path, { force: true })
  }
}

const PACKAGES = ['graphile-worker', 'pg-boss', 'bullmq', 'ioredis', 'pg']

/** The versions that are installed, and the commit of our side. */
export async function versionFacts(): Promise<Record<string, string>> {
  const versions: Record<string, string> = {}
  for (const name of PACKAGES) {
    const file = join(import.meta.dirname, 'node_modules', name, 'package.json')
    versions[name] = JSON.parse(await readFile(file, 'utf8')).version
  }
  return { commit: await commit(), ...versions }
}

async function commit(): Promise<string> {
  const git = (...args: string[]) =>
    promisify(execFile)('git', args, { cwd: import.meta.dirname }).then(
      ({ stdout }) => stdout.trim(),
      () => '',
    )
  const changed = await git('status', '--porcelain', '--', '../server/src', '../server/migrations')
  const id = await git('rev-parse', '--short', 'HEAD')
  return id === '' ? 'unknown' : changed === '' ? id : `${id} with uncommitted changes`
}
