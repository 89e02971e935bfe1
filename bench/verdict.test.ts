/** `node --test bench`: what the report may say, and when it must not say anything. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
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
  assert.equal(verdict?.with, 'fast (best of 2)')
  assert.deepEqual(verdict?.value, { median: 1.375, min: 1.25, max: 1.5, rounds: 2 })
  assert.equal(verdict?.met, true)
})

test('no ratio when a side failed in any round, even if it was not the best', () => {
  const verdict = verdictOn([...STEADY, measured('slow', 3, 0, ['3 of 10 jobs never ran'])])
  assert.equal(verdict?.value, undefined)
  assert.match(verdict?.refused ?? '', /slow failed in round 3: 3 of 10 jobs never ran/)
})

test('no ratio when rounds differ too much', () => {
  const verdict = verdictOn([...STEADY, measured('ours', 3, 301), measured('fast', 3, 100)])
  assert.match(verdict?.refused ?? '', /rounds of ours differ by 2\.0×/)
})

test('no ratio without the other side, and none from a value that cannot be', () => {
  assert.equal(verdictOn([measured('ours', 1, 1)])?.refused, 'not measured')
  assert.match(
    verdictOn([measured('ours', 1, 1), measured('fast', 1, Number.NaN)])?.refused ?? '',
    /no usable/,
  )
})

test('a goal without a rival is about the value itself', () => {
  const own: Goal = { metric: 'rate', of: 'ours', atMost: 100 }
  assert.equal(verdictOn([measured('ours', 1, 101)], own)?.met, false)
  assert.equal(verdictOn([measured('ours', 1, 99)], own)?.met, true)
})

test('percentiles by nearest rank, medians between the middle two, shares of one and of all', () => {
  const hundred = sorted(Array.from({ length: 100 }, (_, at) => 100 - at))
  assert.equal(percentile(hundred, 0.99), 99)
  assert.equal(percentile(hundred, 0.5), 50)
  assert.equal(median([4, 1, 3, 2]), 2.5)
  assert.equal(jainIndex([2, 2, 2, 2]), 1)
  assert.equal(jainIndex([8, 0, 0, 0]), 0.25)
})
