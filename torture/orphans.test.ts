import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test, vi } from 'vitest'
import { processesOf } from '../e2e/process-scan.ts'
import { REPOSITORY } from './own-process.ts'

const PATIENCE = { timeout: 60_000, interval: 100 }

/** A run that pauses a worker as soon as everything is up, for longer than the test. */
const PROGRAM = (folder: string) => `
  import { torture } from './torture/torture.ts'
  await torture({
    seed: 1, seconds: 60, workers: 1, execs: 1, folder: ${JSON.stringify(folder)},
    say: (line) => console.log(line),
    play: ({ chaos }) => chaos.act({ at: 0, kind: 'pause', process: 'worker-1', forMs: 600_000 }),
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
  const states = async () => Promise.all((await processesOf(home)).map(({ pid }) => stateOf(pid)))
  await vi.waitFor(async () => expect(await states()).toContain('T'), PATIENCE)
  // The database and its host, the sink, an exec and a worker.
  expect((await states()).length).toBeGreaterThan(4)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await vi.waitFor(async () => {
    expect(await processesOf(home)).toEqual([])
    await expect(stat(home)).rejects.toThrow('ENOENT')
  }, PATIENCE)
  await rm(folder, { recursive: true, force: true })
}, 150_000)

/** `T` = stopped by a signal. The name before it may hold anything, so the last bracket counts. */
async function stateOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return text.slice(text.lastIndexOf(')') + 2)[0]
}
