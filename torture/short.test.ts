import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, onTestFailed, test } from 'vitest'
import { check } from './checker.ts'
import { reportOf } from './report.ts'
import { comeBackLate, killBeforeCommit } from './scenes.ts'
import type { Action } from './schedule.ts'
import { type Scene, SINK_LINK, torture } from './torture.ts'

/** Everything once, within seconds; `npm run torture` does it at random and for as long as one likes. */
const ACTIONS: readonly Action[] = [
  { at: 300, kind: 'kill', process: 'worker-2', backAfterMs: 200 },
  { at: 600, kind: 'deaf', link: 'exec-1>database', forMs: 300 },
  { at: 1_000, kind: 'reset', link: SINK_LINK },
  { at: 1_400, kind: 'deaf', link: 'worker-1>database', forMs: 300 },
  { at: 1_800, kind: 'cut', link: 'exec-1>database' },
  { at: 2_200, kind: 'pause', process: 'worker-1', forMs: 700 },
  { at: 2_600, kind: 'backend_kill' },
  { at: 3_200, kind: 'refuse', link: SINK_LINK, forMs: 400 },
]

async function play(scene: Scene): Promise<void> {
  await scene.chaos.play(ACTIONS)
  await killBeforeCommit(scene, 'exec-1')
  await scene.chaos.act({ at: 0, kind: 'database_kill' })
  await delay(1_000)
  await comeBackLate(scene, 'worker-1')
  // All of them: who starts again looks for the dead at once, also for claims whose answer was lost above.
  await scene.chaos.play([
    { at: 0, kind: 'kill', process: 'worker-1', backAfterMs: 0 },
    { at: 0, kind: 'kill', process: 'worker-2', backAfterMs: 0 },
  ])
}

test('nothing is lost, stuck, over a cap or unexplained when everything is hurt once', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'orchestrator-short-'))
  onTestFailed(() => {
    process.stderr.write(`the history and the logs of the failed run are in ${folder}\n`)
  })
  const verdict = check(
    await torture({
      ...{ seed: 20_261_121, seconds: 6, folder, play, execs: 1, workers: 2, ratePerSecond: 25 },
      ...{ longShare: 0.3, hurried: true, drainSeconds: 60 },
    }),
  )
  expect(verdict.sound, reportOf(verdict)).toBe(true)
  // The run was one: the hub worked, effects were repeated for a reason, a late settlement was refused.
  expect(verdict.sends.accepted).toBeGreaterThan(50)
  expect(verdict.effects.duplicates.kill + verdict.effects.duplicates.cut).toBeGreaterThan(0)
  expect(verdict.staleRefused).toBeGreaterThan(0)
  await rm(folder, { recursive: true, force: true })
}, 150_000)
