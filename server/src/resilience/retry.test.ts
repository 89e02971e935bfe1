import { expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import { CallFailure, type CallFailureFields } from './failure.ts'
import { outermost, runPipeline } from './pipeline.ts'
import { type FailedAttempt, retry } from './retry.ts'
import { createRetryBudgets } from './retry-budget.ts'

const failing = (extra: Partial<CallFailureFields> = {}) =>
  new CallFailure({ class: 'never_sent', kind: 'test', message: 'failed', ...extra })

function setUp(tokens: number, takePermits?: () => boolean | Promise<boolean>) {
  const clock = manualClock()
  const failed: FailedAttempt[] = []
  const budgets = createRetryBudgets({ clock })
  const stage = retry({
    schedule: { kind: 'exponential', maxAttempts: 4, baseMs: 200, factor: 2, capMs: 1_000 },
    clock,
    random: () => 0.5,
    onFailure: (attempt) => failed.push(attempt),
    takePermits,
    budget: {
      budgets,
      group: 'acme',
      key: 'stripe',
      settings: { mode: 'enforce', tokens, maxRatio: 0.2, minConcurrent: 3 },
    },
  })
  /** Plays `script`: a failure is thrown, anything else answered. */
  const play = async (...script: readonly unknown[]) => {
    const result = runPipeline([stage], outermost(new AbortController().signal), async ({ attempt }) => {
      const step = script[attempt - 1]
      if (step instanceof Error) throw step
      return step
    }).catch((error: unknown) => error)
    await clock.advance(10_000)
    return result
  }
  return { play, failed, whys: () => failed.map(({ decision }) => decision.why) }
}

test.each(['rate_limit', 'bulkhead', 'breaker'] as const)(
  'what our %s refused is not repeated',
  async (rule) => {
    const { play, whys } = setUp(500)
    const refusal = failing({ refusedBy: rule, retryAfterMs: 1 })
    expect(await play(refusal, 'done')).toBe(refusal)
    expect(whys()).toEqual(['not repeated: refused by the hub'])
  },
)

test('repeats as long as the budget of the upstream lasts', async () => {
  const { play, whys } = setUp(28)
  const failure = failing()
  expect(await play(failure, failure, failure, 'done')).toBe(failure)
  expect(whys().at(-1)).toBe('not repeated: the retry budget of the upstream is spent')
  expect(whys()).toHaveLength(3)
})

test.each([
  ['at once', () => false],
  ['later', async () => false],
])(
  'is not made when the rate limit has no room for it, told %s, and costs no budget',
  async (_when, room) => {
    const { play, whys } = setUp(14, room)
    const failure = failing()
    for (const _ of [1, 2]) {
      expect(await play(failure, 'done')).toBe(failure)
      expect(whys().at(-1)).toBe('not repeated: the rate limit has no room')
    }
  },
)

test('a success that needed a repetition gives back what it cost, a failure keeps it', async () => {
  const { play } = setUp(14)
  expect(await play(failing(), 'done')).toBe('done')
  expect(await play(failing(), 'done')).toBe('done')
  const lost = failing({ class: 'permanent' })
  expect(await play(failing(), lost)).toBe(lost)
  const failure = failing()
  expect(await play(failure, 'done')).toBe(failure)
})

test('throttling costs less than other failures', async () => {
  const { play } = setUp(13)
  expect(await play(failing({ class: 'safe_to_repeat', httpStatus: 429 }), 'done')).toBe('done')
  const failure = failing()
  expect(await play(failure, 'done')).toBe(failure)
})
