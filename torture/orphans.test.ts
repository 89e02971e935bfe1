import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test, vi } from 'vitest'
import { processesOf } from '../e2e/process-scan.ts'
import { REPOSITORY } from './own-process.ts'

/** A run that pauses a worker as soon as everything is up. */
const PROGRAM = (folder: string) => `
  import { torture } from './torture/torture.ts'
  await torture({
    seed: 1, seconds: 60, workers: 1, execs: 1, folder: ${JSON.stringify(folder)},
    say: (line) => console.log(line),
    play: ({ chaos }) => chaos.act({ at: 0, kind: 'pause', process: 'worker-1', forMs: 4_000 }),
  })`

test('a supervisor that is killed leaves nothing behind, not even a worker that it had paused', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'orchestrator-orphans-'))
  const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM(folder)], {
    cwd: REPOSITORY,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let home = ''
  for await (const line of createInterface({ input: child.stdout })) {
    home = / in (\S+)$/.exec(line)?.[1] ?? home
    if (line.startsWith('pause')) break
  }
  // The database and its host, the sink, an exec and a worker.
  await vi.waitFor(async () => expect((await processesOf(home)).length).toBeGreaterThan(4))
  child.kill('SIGKILL')
  await once(child, 'exit')
  await vi.waitFor(
    async () => {
      expect(await processesOf(home)).toEqual([])
      await expect(stat(home)).rejects.toThrow('ENOENT')
    },
    { timeout: 30_000, interval: 100 },
  )
  await rm(folder, { recursive: true, force: true })
}, 90_000)
