import { describe, expect, test } from 'vitest'
import { seeded } from './random.ts'
import { type Action, makeSchedule } from './schedule.ts'
import { stageOf } from './torture.ts'

const MINUTE = 60_000
const stage = stageOf(3, 2)
const of = (seed: number, durationMs = 10 * MINUTE) => makeSchedule(seeded(seed), stage, durationMs)

function gapsOf(actions: readonly Action[], wanted: (action: Action) => boolean): number[] {
  const times = actions.filter(wanted).map(({ at }) => at)
  return times.slice(1).map((at, index) => at - (times[index] ?? 0))
}

describe('the chaos of a seed', () => {
  test('is the same for the same seed, and another for another', () => {
    expect(of(7)).toEqual(of(7))
    expect(of(7)).not.toEqual(of(8))
  })

  test('does everything that there is, within its time', () => {
    const actions = of(1)
    const kinds = new Set(actions.map(({ kind }) => kind))
    expect([...kinds].sort()).toEqual(
      [
        'backend_kill',
        'cut',
        'database_kill',
        'deaf',
        'kill',
        'pause',
        'refuse',
        'reset',
        'stall',
        'stop',
      ].sort(),
    )
    expect(actions.every(({ at }, index) => at >= (actions[index - 1]?.at ?? 0) && at < 10 * MINUTE)).toBe(
      true,
    )
  })

  test('leaves the database and one worker the time that they need', () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const actions = of(seed)
      const isLong = (action: Action) => 'forMs' in action && action.forMs > 15_000
      expect(Math.min(...gapsOf(actions, isLong))).toBeGreaterThanOrEqual(22_000)
      expect(Math.min(...gapsOf(actions, ({ kind }) => kind === 'database_kill'))).toBeGreaterThanOrEqual(
        24_000,
      )
    }
  })
})

test('random numbers stay within their bounds and spread over them', () => {
  const random = seeded(3)
  const draws = Array.from({ length: 10_000 }, () => random.whole(1, 4))
  for (const value of [1, 2, 3, 4]) {
    const share = draws.filter((drawn) => drawn === value).length / draws.length
    expect(Math.abs(share - 0.25)).toBeLessThan(0.03)
  }
  const weighed = Array.from({ length: 10_000 }, () => random.weighted({ often: 9, never: 0, seldom: 1 }))
  expect(weighed).not.toContain('never')
  expect(Math.abs(weighed.filter((name) => name === 'seldom').length / 10_000 - 0.1)).toBeLessThan(0.02)
})
