/** What the report may say, and when it must not say anything. */
import { expect, test } from 'vitest'
import { type Case, type Goal, RATE } from './cases/case.ts'
import type { Measured } from './one-measurement.ts'
import { jainIndex, median, percentile, sorted } from './statistics.ts'
import { judge } from './verdict.ts'

const goal: Goal = { metric: 'rate', of: 'ours', against: ['slow', 'fast'], atLeast: 1.2 }

const caseWith = (goals: readonly Goal[]): Case => ({
  id: 'x',
  title: 'x',
  participants: ['ours', 'slow', 'fast'],
  metrics: [{ key: 'rate', title: 'jobs', ...RATE }],
  goals,
  limitMs: { full: 1, quick: 1 },
  measure: async () => ({ metrics: {}, problems: [] }),
})

const measured = (participant: string, round: number, rate: number, problems: string[] = []): Measured => ({
  ...{ participant, round, problems, foreignCores: 0 },
  metrics: problems.length > 0 ? {} : { rate },
})

const verdictOn = (all: readonly Measured[], of = goal) => judge(caseWith([of]), all)[0]

const STEADY = [
  ...[measured('ours', 1, 150), measured('slow', 1, 50), measured('fast', 1, 100)],
  ...[measured('fast', 2, 120), measured('slow', 2, 60), measured('ours', 2, 150)],
]

test('a ratio is made inside each round, against the best rival', () => {
  const verdict = verdictOn(STEADY)
  expect(verdict?.with).toBe('fast (best of 2)')
  expect(verdict?.value).toEqual({ median: 1.375, min: 1.25, max: 1.5, rounds: 2 })
  expect(verdict?.met).toBe(true)
})

test('no ratio when a side failed in any round, even if it was not the best', () => {
  const verdict = verdictOn([...STEADY, measured('slow', 3, 0, ['3 of 10 jobs never ran'])])
  expect(verdict?.value).toBe(undefined)
  expect(verdict?.refused ?? '').toMatch(/slow failed in round 3: 3 of 10 jobs never ran/)
})

test('no ratio when rounds differ too much', () => {
  const verdict = verdictOn([...STEADY, measured('ours', 3, 301), measured('fast', 3, 100)])
  expect(verdict?.refused ?? '').toMatch(/rounds of ours differ by 2\.0×/)
})

test('no ratio without the other side, and none from a value that cannot be', () => {
  expect(verdictOn([measured('ours', 1, 1)])?.refused).toBe('not measured')
  expect(verdictOn([measured('ours', 1, 1), measured('fast', 1, Number.NaN)])?.refused ?? '').toMatch(
    /no usable/,
  )
})

test('a goal without a rival is about the value itself', () => {
  const own: Goal = { metric: 'rate', of: 'ours', atMost: 100 }
  expect(verdictOn([measured('ours', 1, 101)], own)?.met).toBe(false)
  expect(verdictOn([measured('ours', 1, 99)], own)?.met).toBe(true)
})

test('percentiles by nearest rank, medians between the middle two, shares of one and of all', () => {
  const hundred = sorted(Array.from({ length: 100 }, (_, at) => 100 - at))
  expect(percentile(hundred, 0.99)).toBe(99)
  expect(percentile(hundred, 0.5)).toBe(50)
  expect(median([4, 1, 3, 2])).toBe(2.5)
  expect(jainIndex([2, 2, 2, 2])).toBe(1)
  expect(jainIndex([8, 0, 0, 0])).toBe(0.25)
})
