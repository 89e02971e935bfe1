import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFailed, test } from 'vitest'
import { check } from './checker.ts'
import { reportOf } from './report.ts'
import { comeBackLate, killAtWork, killBeforeCommit, until } from './scenes.ts'
import type { Action } from './schedule.ts'
import { type Scene, SINK_LINK, torture } from './torture.ts'

/** Everything else once, within seconds; what becomes of it is left to chance, but for what must never happen. */
const ACTIONS: readonly Action[] = [
  { at: 300, kind: 'deaf', link: 'exec-1>database', forMs: 300 },
  { at: 600, kind: 'reset', link: SINK_LINK },
  { at: 900, kind: 'deaf', link: 'worker-1>database', forMs: 300 },
  { at: 1_300, kind: 'cut', link: 'exec-1>database' },
  { at: 1_500, kind: 'stall', link: 'worker-1>database', forMs: 500 },
  { at: 1_800, kind: 'refuse', link: SINK_LINK, forMs: 300 },
  { at: 2_000, kind: 'backend_kill' },
]
const ENOUGH_ACCEPTED = 50

async function play(scene: Scene): Promise<void> {
  const { chaos, load, refusals } = scene
  await chaos.play(ACTIONS)
  const before = load.asked
  await killBeforeCommit(scene, 'exec-1', () => load.asked - before > 10)
  await chaos.act({ at: 0, kind: 'database_kill' })
  // Last: what the others did to claims is mended as well when every worker counts as dead once.
  const { worker } = await comeBackLate(scene, () => killAtWork(scene))
  await until(`a late settlement of ${worker} is refused`, async () => (await refusals(worker)) > 0)
  await until('enough jobs are accepted', () => acceptedOf(load) > ENOUGH_ACCEPTED)
}

const acceptedOf = ({ sends }: Scene['load']): number =>
  sends.filter(({ answer }) => answer === 'accepted').length

test('nothing is lost, stuck, over a cap or unexplained when everything is hurt once', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'orchestrator-short-'))
  onTestFailed(() => {
    process.stderr.write(`the history and the logs of the failed run are in ${folder}\n`)
  })
  const verdict = check(
    await torture({
      ...{ seed: 20_261_121, seconds: 1, folder, play, execs: 1, workers: 2, ratePerSecond: 25 },
      ...{ longShare: 0.3, hurried: true, drainSeconds: 120 },
    }),
  )
  expect(verdict.sound, reportOf(verdict)).toBe(true)
  // The run was one, and the checker saw what it waited for: see `play`.
  expect(verdict.sends.accepted).toBeGreaterThan(ENOUGH_ACCEPTED)
  expect(verdict.effects.duplicates.kill, reportOf(verdict)).toBeGreaterThan(0)
  expect(verdict.effects.duplicates.pause, reportOf(verdict)).toBeGreaterThan(0)
  expect(verdict.staleRefused).toBeGreaterThan(0)
  await rm(folder, { recursive: true, force: true })
}, 300_000)
