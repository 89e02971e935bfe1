/**
 * The checker finds what it is for: each bug is planted from outside into real processes (nothing of it is in the
 * product), and the run must not be sound. `short.test.ts` plays the same scenes without the bugs.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { check, type Verdict } from './checker.ts'
import { countBeforeLock } from './planted/count-before-lock.ts'
import { reportOf } from './report.ts'
import { comeBackLate, killBeforeCommit } from './scenes.ts'
import { type TortureOptions, torture } from './torture.ts'

const RUN_MS = 150_000
const planted = (name: string): string => join(import.meta.dirname, 'planted', `${name}.ts`)

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'orchestrator-planted-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function verdictOf(options: Omit<TortureOptions, 'seed' | 'folder'>): Promise<Verdict> {
  const small = { seed: 1, execs: 1, workers: 2, drainSeconds: 40, hurried: true }
  const verdict = check(await torture({ ...small, ...options, folder: join(folder, String(Math.random())) }))
  expect(verdict.sends.accepted, reportOf(verdict)).toBeGreaterThan(10)
  expect(verdict.sound).toBe(false)
  return verdict
}

test(
  'a job that is acknowledged before its commit is lost when the process dies',
  async () => {
    const verdict = await verdictOf({
      seconds: 3,
      ratePerSecond: 60,
      preload: { exec: planted('acknowledge-early') },
      play: async (scene) => {
        await delay(1_500)
        await killBeforeCommit(scene, 'exec-1')
      },
    })
    expect(verdict.faults.lost, reportOf(verdict)).not.toEqual([])
  },
  RUN_MS,
)

test(
  'a settlement that does not name its lease ends the lease of another worker',
  async () => {
    const verdict = await verdictOf({
      seconds: 4,
      ratePerSecond: 8,
      workMs: { usual: [1_500, 2_000], long: [1_500, 2_000] },
      preload: { worker: planted('settle-any-lease') },
      play: async (scene) => {
        await delay(2_000)
        await comeBackLate(scene, 'worker-1')
      },
    })
    expect(verdict.faults.stranger, reportOf(verdict)).not.toEqual([])
  },
  RUN_MS,
)

test(
  'a cap that is counted before the lock is exceeded by two workers at once',
  async () => {
    const verdict = await verdictOf({
      seconds: 4,
      ratePerSecond: 60,
      workMs: { usual: [20, 60], long: [100, 200] },
      prepare: countBeforeLock,
      play: async () => undefined,
    })
    expect(verdict.faults.over_cap, reportOf(verdict)).not.toEqual([])
  },
  RUN_MS,
)
