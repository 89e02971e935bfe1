import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import {
  CALM,
  createLoadShed,
  nextShedState,
  SHED_AT_MS,
  SHED_HOLD_MS,
  type ShedLevel,
  takes,
  type Work,
} from './load-shed.ts'

const WORK: readonly Work[] = ['low', 'default', 'read', 'critical', 'ingress']
const EVERY_MS = 500

function setUp() {
  const clock = manualClock()
  const changes: ShedLevel[] = []
  const shed = createLoadShed({ clock, onLevel: (level) => changes.push(level) })
  /** So many readings of a delay, 500 ms apart. */
  const hear = async (delayMs: number, readings: number) => {
    for (let reading = 0; reading < readings; reading += 1) {
      await clock.advance(EVERY_MS)
      shed.heard(delayMs)
    }
    return shed.level
  }
  const taken = () => WORK.filter((work) => shed.takes(work))
  return { shed, hear, taken, changes }
}

describe('the order', () => {
  test.each([
    [0, ['low', 'default', 'read', 'critical', 'ingress']],
    [200, ['default', 'read', 'critical', 'ingress']],
    [400, ['critical', 'ingress']],
    [800, ['ingress']],
    [1_600, []],
  ])('a delay of %d ms leaves %j', async (delayMs, left) => {
    const { hear, taken } = setUp()
    await hear(delayMs, 2)
    expect(taken()).toEqual(left)
  })

  test('a thread that is late by less than 200 ms takes everything, however busy it is', async () => {
    const { hear, taken } = setUp()
    await hear(199, 100)
    expect(taken()).toEqual(WORK)
  })
})

describe('against flapping', () => {
  test('one long turn sheds nothing', async () => {
    const { hear, changes } = setUp()
    for (let turn = 0; turn < 10; turn += 1) {
      await hear(5_000, 1)
      await hear(50, 1)
    }
    expect(changes).toEqual([])
  })

  test('a level rises to the lower of two readings, not to the peak', async () => {
    const { hear } = setUp()
    await hear(250, 1)
    expect(await hear(5_000, 1)).toBe(1)
    expect(await hear(5_000, 1)).toBe(4)
  })

  test('a delay around the threshold keeps the level where it is', async () => {
    const { hear, changes } = setUp()
    await hear(210, 2)
    for (let turn = 0; turn < 50; turn += 1) {
      await hear(190, 3)
      await hear(210, 3)
    }
    expect(changes).toEqual([1])
  })

  test('a level ends only after three seconds of calm without a break', async () => {
    const { hear } = setUp()
    await hear(200, 2)
    expect(await hear(99, 6)).toBe(1)
    await hear(100, 1)
    expect(await hear(99, 6)).toBe(1)
    expect(await hear(99, 1)).toBe(0)
  })

  test('classes come back one after the other', async () => {
    const { hear, changes } = setUp()
    await hear(2_000, 2)
    await hear(0, 25)
    expect(changes).toEqual([4, 3, 2, 1, 0])
  })
})

describe('modes', () => {
  test('a shadow rule takes everything, and says what it would have shed', async () => {
    const { shed, hear } = setUp()
    await hear(400, 2)
    const wouldHave: string[] = []
    expect(shed.takes('low', 'shadow', (rule) => wouldHave.push(rule))).toBe(true)
    expect(shed.takes('critical', 'shadow', (rule) => wouldHave.push(rule))).toBe(true)
    expect(wouldHave).toEqual(['load_shedding'])
  })

  test('a rule that is off takes everything', async () => {
    const { shed, hear } = setUp()
    await hear(5_000, 2)
    expect(shed.takes('low', 'off')).toBe(true)
    expect(shed.takes('low')).toBe(false)
  })
})

test('whatever the readings: no class is shed before a less important one, and no change is faster than meant', () => {
  const readings = fc.array(fc.integer({ min: 0, max: 3_000 }), { maxLength: 200, size: 'max' })
  fc.assert(
    fc.property(readings, (delays) => {
      let state = CALM
      let changedDownAt = Number.NEGATIVE_INFINITY
      for (const [index, delayMs] of delays.entries()) {
        const now = index * EVERY_MS
        const next = nextShedState(state, delayMs, now)
        if (next.level > state.level) {
          expect(Math.min(delayMs, state.lastDelayMs)).toBeGreaterThanOrEqual(SHED_AT_MS[next.level])
        } else if (next.level < state.level) {
          expect(next.level).toBe(state.level - 1)
          expect(now - changedDownAt).toBeGreaterThanOrEqual(SHED_HOLD_MS)
          changedDownAt = now
        }
        state = next
        const shed = WORK.map((work) => !takes(state.level, work))
        expect(shed.toSorted((a, b) => Number(b) - Number(a))).toEqual(shed)
      }
    }),
  )
})
