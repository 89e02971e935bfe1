import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import type { BackoffSchedule } from './backoff.ts'
import { attemptTimeout, totalDeadline } from './deadline.ts'
import { CallFailure, type CallFailureFields, FAILURE_CLASSES, type FailureClass } from './failure.ts'
import { type CallScope, outermost, runPipeline, type Stage } from './pipeline.ts'
import { type FailedAttempt, retry } from './retry.ts'

const failing = (failureClass: FailureClass, extra: Partial<CallFailureFields> = {}) =>
  new CallFailure({ class: failureClass, kind: 'test', message: 'failed', ...extra })

const FOUR: BackoffSchedule = { kind: 'exponential', maxAttempts: 4, baseMs: 200, factor: 2, capMs: 1_000 }

/** A pipeline as `/execute` has it, over a call that plays `script`: a failure is thrown, anything else answered. */
function setUp(
  options: { totalMs?: number; attemptMs?: number; schedule?: BackoffSchedule; random?: number } = {},
) {
  const clock = manualClock()
  const failed: FailedAttempt[] = []
  const starts: number[] = []
  const cancel = new AbortController()
  const stages: Stage[] = [
    totalDeadline({ totalMs: options.totalMs ?? 60_000, clock }),
    retry({
      schedule: options.schedule ?? FOUR,
      clock,
      random: () => options.random ?? 0.5,
      onFailure: (attempt) => failed.push(attempt),
    }),
    attemptTimeout({ attemptMs: options.attemptMs ?? 10_000, clock }),
  ]
  const run = (call: (scope: CallScope) => Promise<unknown>) =>
    runPipeline(stages, outermost(cancel.signal), (scope) => {
      starts.push(clock.monotonic())
      return call(scope)
    }).then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    )
  const play = (script: readonly unknown[]) =>
    run(async ({ attempt }) => {
      const step = script[attempt - 1]
      if (step instanceof Error) throw step
      return step
    })
  return { clock, failed, starts, cancel, run, play, whys: () => failed.map(({ decision }) => decision.why) }
}

/** A call that hangs until it is told to stop, and then fails as its own code would. */
const hanging = (failure: CallFailure) => (scope: CallScope) =>
  new Promise<never>((_resolve, reject) => {
    scope.signal.addEventListener('abort', () => reject(failure))
  })

describe('order', () => {
  test('stages run from the outermost to the innermost and back', async () => {
    const seen: string[] = []
    const named =
      (name: string): Stage =>
      async (scope, next) => {
        seen.push(`${name} in`)
        const result = await next({ ...scope, attempt: scope.attempt + 1 })
        seen.push(`${name} out`)
        return result
      }
    const result = await runPipeline(
      [named('a'), named('b')],
      outermost(new AbortController().signal),
      async ({ attempt }) => attempt,
    )
    expect(seen).toEqual(['a in', 'b in', 'b out', 'a out'])
    expect(result).toBe(3)
  })
})

describe('retry', () => {
  test('repeats with growing waits until it succeeds', async () => {
    const { clock, play, starts, whys } = setUp()
    const result = play([failing('safe_to_repeat'), failing('never_sent'), 'done'])
    await clock.advance(10_000)
    expect(await result).toEqual({ value: 'done' })
    expect(starts).toEqual([0, 100, 300])
    expect(whys()).toEqual(['again in 100 ms', 'again in 200 ms'])
  })

  test('gives the last failure when the attempts are spent', async () => {
    const { clock, play, starts, whys } = setUp()
    const last = failing('safe_to_repeat', { kind: 'last' })
    const result = play([
      failing('safe_to_repeat'),
      failing('safe_to_repeat'),
      failing('safe_to_repeat'),
      last,
    ])
    await clock.advance(10_000)
    expect(await result).toEqual({ error: last })
    expect(starts).toHaveLength(4)
    expect(whys().at(-1)).toMatch(/all 4 attempts/)
  })

  test.each(['outcome_unknown', 'permanent'] as const)('never repeats %s', async (failureClass) => {
    const { play, starts } = setUp()
    const failure = failing(failureClass, { retryAfterMs: 1 })
    expect(await play([failure, 'done'])).toEqual({ error: failure })
    expect(starts).toHaveLength(1)
  })

  test('passes on what is no CallFailure, without repeating', async () => {
    const { play, starts } = setUp()
    const bug = new TypeError('bug')
    expect(await play([bug, 'done'])).toEqual({ error: bug })
    expect(starts).toHaveLength(1)
  })

  test('waits as long as the upstream asks, if that is longer', async () => {
    const { clock, play, starts, whys } = setUp()
    const result = play([
      failing('safe_to_repeat', { retryAfterMs: 7_000 }),
      failing('never_sent', { retryAfterMs: 1 }),
      'done',
    ])
    await clock.advance(20_000)
    expect(await result).toEqual({ value: 'done' })
    expect(starts).toEqual([0, 7_000, 7_200])
    expect(whys()).toEqual(['again in 7000 ms, as the upstream asks', 'again in 200 ms'])
  })

  test('fails at once, with Retry-After, when the wait would outlast the deadline', async () => {
    const { play, starts, clock, whys } = setUp({ totalMs: 15_000 })
    const failure = failing('safe_to_repeat', { retryAfterMs: 30_000 })
    expect(await play([failure, 'done'])).toEqual({ error: failure })
    expect([starts, clock.monotonic()]).toEqual([[0], 0])
    expect(whys()[0]).toMatch(/30000 ms is longer than the 15000 ms left/)
  })

  test('never sent at last, but maybe sent before: the failure does not say never sent', async () => {
    const { clock, play } = setUp()
    const result = play([
      failing('safe_to_repeat'),
      ...Array.from({ length: 3 }, () => failing('never_sent')),
    ])
    await clock.advance(10_000)
    expect(await result).toMatchObject({ error: { class: 'safe_to_repeat' } })
  })

  test('a cancelled wait gives the failure that it waited for', async () => {
    const { clock, play, cancel, starts } = setUp()
    const failure = failing('safe_to_repeat', { retryAfterMs: 5_000 })
    const result = play([failure, 'done'])
    await clock.advance(1_000)
    cancel.abort(new Error('shutting down'))
    await clock.advance(1_000)
    expect(await result).toEqual({ error: failure })
    expect(starts).toHaveLength(1)
  })

  test('a cancelled attempt is not repeated, although it was never sent', async () => {
    const { clock, run, cancel, starts } = setUp()
    const failure = failing('never_sent', { kind: 'aborted' })
    const result = run(hanging(failure))
    await clock.advance(1)
    cancel.abort(new Error('shutting down'))
    await clock.advance(10_000)
    expect(await result).toEqual({ error: failure })
    expect(starts).toHaveLength(1)
  })
})

describe('time limits', () => {
  test('an attempt is told to stop at its limit, with a reason named TimeoutError, and repeated', async () => {
    const { clock, run, starts } = setUp({ attemptMs: 1_000, totalMs: 2_500 })
    const reasons: unknown[] = []
    const result = run((scope) => {
      scope.signal.addEventListener('abort', () => reasons.push(scope.signal.reason.name))
      return hanging(failing('safe_to_repeat', { kind: 'timeout' }))(scope)
    })
    await clock.advance(10_000)
    expect(await result).toMatchObject({ error: { kind: 'timeout', class: 'safe_to_repeat' } })
    // The third attempt has only the rest of the total: 2,500 − 1,000 − 100 − 1,000 − 200.
    expect(starts).toEqual([0, 1_100, 2_300])
    expect(reasons).toEqual(['TimeoutError', 'TimeoutError', 'TimeoutError'])
  })

  test('work that ignores its signal is left behind as outcome unknown', async () => {
    const { clock, run } = setUp({ attemptMs: 1_000 })
    const result = run(() => new Promise(() => undefined))
    await clock.advance(1_200)
    expect(await result).toMatchObject({ error: { kind: 'timeout', class: 'outcome_unknown' } })
  })

  test('work that ignores its cancellation is left behind too, as aborted', async () => {
    const { clock, run, cancel } = setUp()
    const result = run(() => new Promise(() => undefined))
    await clock.advance(1)
    cancel.abort(new Error('shutting down'))
    await clock.advance(200)
    expect(await result).toMatchObject({ error: { kind: 'aborted', class: 'outcome_unknown' } })
  })

  test('with less than 10 ms left nothing is begun', async () => {
    const { run, starts } = setUp({ totalMs: 9 })
    expect(await run(async () => 'done')).toMatchObject({ error: { kind: 'timeout', class: 'never_sent' } })
    expect(starts).toEqual([])
  })

  test('a signal that is already aborted ends the work at once', async () => {
    const { clock, run, cancel } = setUp()
    cancel.abort(new Error('gone'))
    const result = run((scope) => {
      expect(scope.signal.aborted).toBe(true)
      return Promise.reject(failing('never_sent', { kind: 'aborted' }))
    })
    await clock.advance(1_000)
    expect(await result).toMatchObject({ error: { kind: 'aborted' } })
  })

  test.each([['done'], [failing('permanent')]])(
    'finished work (%s) leaves no timer and no listener behind',
    async (step) => {
      const { clock, play, cancel } = setUp()
      await play([step])
      expect(clock.sleeping).toBe(0)
      expect(getEventListeners(cancel.signal, 'abort')).toEqual([])
    },
  )

  test('work that is left behind leaves no timer and no listener either, and ends unheard', async () => {
    const { clock, run, cancel } = setUp({ attemptMs: 1_000, totalMs: 1_000 })
    const result = run(() => clock.sleep(5_000).then(() => Promise.reject(new TypeError('late'))))
    await clock.advance(1_200)
    expect(await result).toMatchObject({ error: { kind: 'timeout' } })
    expect(getEventListeners(cancel.signal, 'abort')).toEqual([])
    await clock.advance(5_000)
    expect(clock.sleeping).toBe(0)
  })

  test('a stage inside that throws at once fails as if it had rejected', async () => {
    const { clock, run } = setUp()
    const bug = new TypeError('bug')
    const result = run(() => {
      throw bug
    })
    expect(await result).toEqual({ error: bug })
    expect(clock.sleeping).toBe(0)
  })
})

test('whatever happens: bounded attempts, no attempt after the deadline, no repeat of what may not be repeated', async () => {
  const step = fc.record({
    class: fc.constantFrom(...FAILURE_CLASSES),
    takesMs: fc.integer({ min: 0, max: 3_000 }),
    retryAfterMs: fc.option(fc.integer({ min: 0, max: 20_000 }), { nil: undefined }),
  })
  const limits = fc.record({
    totalMs: fc.integer({ min: 10, max: 8_000 }),
    attemptMs: fc.integer({ min: 10, max: 4_000 }),
    random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), limits, async (steps, options) => {
      const { clock, run, starts, failed } = setUp(options)
      const result = run(async ({ attempt, signal }) => {
        const { takesMs, ...fields } = steps[attempt - 1] ?? {
          takesMs: 0,
          class: 'permanent' as const,
          retryAfterMs: 0,
        }
        await clock.sleep(takesMs, signal).catch(() => undefined)
        throw failing(
          fields.class,
          fields.retryAfterMs === undefined ? {} : { retryAfterMs: fields.retryAfterMs },
        )
      })
      await clock.advance(options.totalMs + 1_000)
      expect(await result).toHaveProperty('error')
      expect(starts.length).toBeLessThanOrEqual(4)
      expect(Math.max(0, ...starts)).toBeLessThanOrEqual(options.totalMs - 10)
      for (const { attempt, failure } of failed.slice(0, -1)) {
        expect(['never_sent', 'safe_to_repeat']).toContain(failure.class)
        const waited = (starts[attempt] ?? 0) - (starts[attempt - 1] ?? 0)
        expect(waited).toBeGreaterThanOrEqual(failure.retryAfterMs ?? 0)
      }
      expect(clock.sleeping).toBe(0)
    }),
    { numRuns: 200 },
  )
})
