import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import { CallFailure, type CallFailureFields } from './failure.ts'
import { hedge } from './hedge.ts'
import { createLatencies } from './latency.ts'
import { type CallScope, outermost } from './pipeline.ts'

const failing = (extra: Partial<CallFailureFields> = {}) =>
  new CallFailure({ class: 'safe_to_repeat', kind: 'test', message: 'failed', ...extra })

/** Call number i answers `i` after `steps[i].ms`, or fails then; aborted ones fail at once. */
function setUp(
  steps: readonly { ms: number; fails?: Error }[],
  { delayMs = 200, ...changes }: { delayMs?: number | null } & Partial<CallScope> = {},
) {
  const clock = manualClock()
  const latency = createLatencies().of('acme', 'x')
  const cancel = new AbortController()
  const started: number[] = []
  const aborted: number[] = []
  let hedges = 0
  const run = () =>
    hedge({ delayMs, latency, clock, onHedge: () => (hedges += 1) })(
      { ...outermost(cancel.signal), ...changes },
      async ({ signal }) => {
        const index = started.push(clock.monotonic()) - 1
        const step = steps[index] ?? { ms: 0 }
        await clock.sleep(step.ms, signal).catch(() => {
          aborted.push(index)
          throw failing({ kind: 'aborted' })
        })
        if (step.fails) throw step.fails
        return index
      },
    ).catch((error: unknown) => error)
  return { clock, latency, cancel, started, aborted, run, hedges: () => hedges }
}

test('a call that is fast enough is made once and leaves nothing behind', async () => {
  const { clock, run, started, cancel } = setUp([{ ms: 199 }])
  const result = run()
  await clock.advance(1_000)
  expect([await result, started]).toEqual([0, [0]])
  expect(clock.sleeping).toBe(0)
  expect(getEventListeners(cancel.signal, 'abort')).toEqual([])
})

test('the second call answers first: the first is told to stop', async () => {
  const { clock, run, started, aborted, hedges } = setUp([{ ms: 5_000 }, { ms: 10 }])
  const result = run()
  await clock.advance(210)
  expect(await result).toBe(1)
  expect([started, aborted, hedges()]).toEqual([[0, 200], [0], 1])
  expect(clock.sleeping).toBe(0)
})

test('never more than one extra', async () => {
  const { clock, run, started } = setUp([{ ms: 5_000 }, { ms: 5_000 }])
  const result = run()
  await clock.advance(10_000)
  expect([await result, started]).toEqual([0, [0, 200]])
})

test('with null the delay is what 95 of 100 calls stay below, unknown at first, and at least 100 ms', async () => {
  const unknown = setUp([{ ms: 5_000 }], { delayMs: null })
  const first = unknown.run()
  await unknown.clock.advance(5_000)
  expect([await first, unknown.started]).toEqual([0, [0]])
  for (const [usual, delay] of [
    [10, 100],
    [256, 256],
  ] as const) {
    const { clock, latency, run, started } = setUp([{ ms: 5_000 }, { ms: 1 }], { delayMs: null })
    for (let count = 0; count < 100; count += 1) latency.observe(usual)
    const result = run()
    await clock.advance(5_000)
    expect([await result, started]).toEqual([1, [0, delay]])
  }
})

test('a first call that fails before the delay is not hedged: repeating is for retry', async () => {
  const failure = failing()
  const { clock, run, started } = setUp([{ ms: 10, fails: failure }])
  const result = run()
  await clock.advance(1_000)
  expect([await result, started]).toEqual([failure, [0]])
})

test('the failure of one waits for the other; when both fail, never sent is not claimed', async () => {
  const good = setUp([{ ms: 500 }, { ms: 10, fails: failing({ refusedBy: 'breaker', class: 'never_sent' }) }])
  const answer = good.run()
  await good.clock.advance(1_000)
  expect(await answer).toBe(0)

  const sent = failing()
  const bad = setUp([
    { ms: 500, fails: sent },
    { ms: 10, fails: failing({ class: 'never_sent' }) },
  ])
  const result = bad.run()
  await bad.clock.advance(1_000)
  expect(await result).toBe(sent)
})

test('an answer that repeating would not change ends both', async () => {
  const failure = failing({ class: 'permanent', httpStatus: 404 })
  const { clock, run, aborted } = setUp([{ ms: 5_000 }, { ms: 10, fails: failure }])
  const result = run()
  await clock.advance(210)
  expect([await result, aborted]).toEqual([failure, [0]])
})

test('no second call without budget, nor when the time ends before it could do anything', async () => {
  const allowance = { tryTake: () => false, giveBack: () => undefined, end: () => undefined }
  for (const limit of [{ allowance }, { deadlineAt: 205 }]) {
    const { clock, run, started } = setUp([{ ms: 1_000 }], limit)
    const result = run()
    await clock.advance(1_000)
    expect([await result, started]).toEqual([0, [0]])
  }
})

test('a cancelled call stops both and begins none', async () => {
  const { clock, run, cancel, aborted, started } = setUp([{ ms: 5_000 }, { ms: 5_000 }])
  const result = run()
  await clock.advance(300)
  cancel.abort(new Error('gone'))
  await clock.advance(1)
  expect(await result).toMatchObject({ kind: 'aborted' })
  expect([aborted, started]).toEqual([
    [0, 1],
    [0, 200],
  ])
})

test('a slow call that was overtaken is seen as slow: otherwise the delay would shrink with every hedge', async () => {
  const pair = [{ ms: 5_000 }, { ms: 1 }]
  const { clock, latency, run } = setUp([...pair, ...pair, ...pair])
  for (let count = 0; count < 20; count += 1) latency.observe(1)
  for (let count = 0; count < 3; count += 1) {
    const result = run()
    await clock.advance(1_000)
    expect(await result).toBe(2 * count + 1)
  }
  expect(latency.p95()).toBeGreaterThanOrEqual(200)
})
