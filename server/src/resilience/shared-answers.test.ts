import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import { cache } from './cache.ts'
import { coalesce, createCallsUnderWay } from './coalesce.ts'
import { attemptTimeout, totalDeadline } from './deadline.ts'
import { CallFailure, type CallFailureFields } from './failure.ts'
import { fallback } from './fallback.ts'
import { type CallResult, type CallScope, outermost, runPipeline, type StageOf } from './pipeline.ts'
import { createResponseCache } from './response-cache.ts'

const failing = (extra: Partial<CallFailureFields> = {}) =>
  new CallFailure({ class: 'safe_to_repeat', kind: 'http_5xx', httpStatus: 503, message: 'failed', ...extra })

const answer = (output: unknown): CallResult => ({ output, httpStatus: 200 })
const neverStopped = outermost(new AbortController().signal)
const run = (stages: readonly StageOf<CallResult>[], call: (scope: CallScope) => Promise<CallResult>) =>
  runPipeline(stages, neverStopped, call)

describe('cache', () => {
  const setUp = ({ ttlMs = 1_000, maxStaleMs = 0, maxBytes = 1_000_000 } = {}) => {
    const clock = manualClock()
    const kept = createResponseCache({ clock, maxBytes })
    let calls = 0
    const ask = (key = 'k') =>
      run([cache({ cache: kept, key, ttlMs, maxStaleMs })], async () =>
        answer({ number: ++calls, list: [1] }),
      )
    return { clock, kept, ask }
  }

  test('serves while fresh, with its age, and asks again after that', async () => {
    const { clock, ask } = setUp()
    expect(await ask()).toEqual(answer({ number: 1, list: [1] }))
    await clock.advance(999)
    expect(await ask()).toMatchObject({
      output: { number: 1 },
      httpStatus: 200,
      servedFrom: 'cache',
      ageMs: 999,
    })
    await clock.advance(1)
    expect(await ask()).toEqual(answer({ number: 2, list: [1] }))
    expect(await ask('other')).toEqual(answer({ number: 3, list: [1] }))
  })

  test('nobody can change what others get: neither whose answer it was nor who got it from the cache', async () => {
    const { ask } = setUp()
    const first = (await ask()).output as { list: number[] }
    first.list.push(2)
    const second = (await ask()).output as { list: number[] }
    expect(second.list).toEqual([1])
    expect(() => second.list.push(3)).toThrow(TypeError)
  })

  test('keeps for the fallback what it does not serve itself', async () => {
    const { clock, kept, ask } = setUp({ ttlMs: 0, maxStaleMs: 5_000 })
    await ask()
    expect(await ask()).toMatchObject({ output: { number: 2 } })
    await clock.advance(4_999)
    expect(kept.find('k', 5_000)).toMatchObject({ output: { number: 2 }, ageMs: 4_999 })
    await clock.advance(1)
    expect(kept.find('k', 5_000)).toBeUndefined()
    expect(kept.bytes).toBe(0)
  })

  test('is bounded by bytes, and one large answer pushes nothing out', async () => {
    const { kept, ask } = setUp({ maxBytes: 64_000 })
    await ask('small')
    kept.keep('large', answer('x'.repeat(2_000)), 1_000)
    expect(kept.find('large', 1_000)).toBeUndefined()
    expect(kept.find('small', 1_000)).toBeDefined()
    for (let count = 0; count < 1_000; count += 1) kept.keep(`k${count}`, answer(count), 1_000)
    expect(kept.bytes).toBeLessThanOrEqual(64_000)
    expect(kept.find('k999', 1_000)).toBeDefined()
    expect(kept.find('small', 1_000)).toBeUndefined()
  })

  test('keeps no failure, and nothing that did not come from the upstream', async () => {
    const { kept } = setUp()
    const stage = cache({ cache: kept, key: 'k', ttlMs: 1_000, maxStaleMs: 0 })
    await expect(run([stage], () => Promise.reject(failing()))).rejects.toThrow('failed')
    await run([stage], async () => ({ ...answer(1), servedFrom: 'coalesced' }))
    expect(kept.bytes).toBe(0)
  })
})

describe('fallback', () => {
  const instead = fallback({ type: 'static', output: { plans: [] } })

  test.each<[string, Partial<CallFailureFields>]>([
    ['the upstream is broken', {}],
    ['it did not answer', { kind: 'timeout' }],
    ['the breaker is open', { class: 'never_sent', kind: 'circuit_open', refusedBy: 'breaker' }],
    ['a limit of ours', { class: 'never_sent', kind: 'rate_limited', refusedBy: 'rate_limit' }],
    ['no place', { class: 'never_sent', kind: 'concurrency_limited', refusedBy: 'bulkhead' }],
    ['too many requests', { kind: 'http_429', httpStatus: 429 }],
    ['an unusable answer', { class: 'permanent', kind: 'output_invalid', httpStatus: 200 }],
  ])('replaces: %s', async (_what, fields) => {
    const failures: CallFailure[] = []
    const stage = fallback({ type: 'static', output: 1, onFallback: (failure) => failures.push(failure) })
    const failure = failing(fields)
    expect(await run([stage], () => Promise.reject(failure))).toEqual({
      output: 1,
      httpStatus: null,
      servedFrom: 'static',
    })
    expect(failures).toEqual([failure])
  })

  test.each<[string, Error]>([
    ['what the upstream rejects', failing({ class: 'permanent', kind: 'http_4xx', httpStatus: 404 })],
    ['a redirect', failing({ class: 'permanent', kind: 'http_3xx', httpStatus: 302 })],
    ['a caller that has gone', failing({ kind: 'aborted' })],
    ['a bug', new TypeError('bug')],
  ])('does not hide: %s', async (_what, error) => {
    await expect(run([instead], () => Promise.reject(error))).rejects.toBe(error)
  })

  test('does not hide a private address', async () => {
    const failure = new CallFailure({ class: 'permanent', kind: 'address_forbidden', message: 'no' })
    await expect(run([instead], () => Promise.reject(failure))).rejects.toBe(failure)
  })

  test('stale gives the last good answer with its age, or the failure when there is none young enough', async () => {
    const clock = manualClock()
    const kept = createResponseCache({ clock })
    const stages = [
      fallback({ type: 'stale', cache: kept, key: 'k', maxStaleMs: 5_000 }),
      cache({ cache: kept, key: 'k', ttlMs: 1_000, maxStaleMs: 5_000 }),
    ]
    const down = () => run(stages, () => Promise.reject(failing()))
    await expect(down()).rejects.toThrow('failed')
    await run(stages, async () => answer('good'))
    await clock.advance(3_000)
    expect(await down()).toEqual({ output: 'good', httpStatus: 200, servedFrom: 'stale', ageMs: 3_000 })
    await clock.advance(2_000)
    await expect(down()).rejects.toThrow('failed')
  })
})

describe('coalesce', () => {
  const setUp = () => {
    const clock = manualClock()
    const calls = createCallsUnderWay()
    const started: CallScope[] = []
    /** One caller with its own total time; the upstream answers after `takesMs` or when it is told to stop. */
    const caller = (options: { totalMs?: number; takesMs?: number; fails?: Error; key?: string } = {}) => {
      const { totalMs = 60_000, takesMs = 1_000, fails, key = 'k' } = options
      const cancel = new AbortController()
      const result = runPipeline<CallResult>(
        [
          totalDeadline({ totalMs, clock }),
          coalesce({ calls, key, clock }),
          attemptTimeout({ attemptMs: 50_000, clock }),
        ],
        outermost(cancel.signal),
        async (scope) => {
          started.push(scope)
          await clock.sleep(takesMs, scope.signal).catch(() => {
            throw failing({ kind: 'aborted' })
          })
          if (fails) throw fails
          return answer({ by: started.length })
        },
      ).catch((error: unknown) => error)
      return { result, cancel }
    }
    return { clock, calls, started, caller }
  }

  test('equal calls at the same time are one, others are not; a later one asks again', async () => {
    const { clock, calls, started, caller } = setUp()
    const [one, two, other] = [caller(), caller(), caller({ key: 'other' })]
    await clock.advance(1_000)
    expect(await one.result).toMatchObject({ httpStatus: 200 })
    expect(await one.result).not.toHaveProperty('servedFrom')
    expect(await two.result).toMatchObject({ servedFrom: 'coalesced' })
    expect(await other.result).not.toHaveProperty('servedFrom')
    expect([started.length, calls.size]).toEqual([2, 0])
    caller()
    await clock.advance(0)
    expect(started).toHaveLength(3)
  })

  test('a failure of the upstream is everybody’s: it is not asked once per caller', async () => {
    const { clock, started, caller } = setUp()
    const failure = failing()
    const all = [caller({ fails: failure }), caller(), caller()]
    await clock.advance(5_000)
    expect(await Promise.all(all.map(({ result }) => result))).toEqual([failure, failure, failure])
    expect(started).toHaveLength(1)
  })

  test('whoever goes away, also the first, goes alone; the last one ends the call', async () => {
    const { clock, calls, started, caller } = setUp()
    const [first, second] = [caller(), caller()]
    await clock.advance(100)
    first.cancel.abort(new Error('gone'))
    await clock.advance(0)
    expect(await first.result).toMatchObject({ kind: 'aborted' })
    expect(started[0]?.signal.aborted).toBe(false)
    const third = caller()
    second.cancel.abort(new Error('gone'))
    await clock.advance(900)
    expect(await third.result).toMatchObject({ servedFrom: 'coalesced' })

    const alone = caller()
    await clock.advance(100)
    alone.cancel.abort(new Error('gone'))
    await clock.advance(0)
    expect(started[1]?.signal.aborted).toBe(true)
    expect(await alone.result).toMatchObject({ kind: 'aborted' })
    expect([calls.size, clock.sleeping]).toEqual([0, 0])
  })

  test('each has its own deadline: a follower in a hurry times out alone', async () => {
    const { clock, caller } = setUp()
    const [leader, hurried] = [caller(), caller({ totalMs: 200 })]
    await clock.advance(300)
    expect(await hurried.result).toMatchObject({ kind: 'timeout' })
    await clock.advance(700)
    expect(await leader.result).toMatchObject({ httpStatus: 200 })
  })

  test('a leader in a hurry does not hand its timeout on: one of the others begins anew, the rest joins it', async () => {
    const { clock, started, caller } = setUp()
    const leader = caller({ totalMs: 200 })
    const others = [caller(), caller()]
    await clock.advance(5_000)
    expect(await leader.result).toMatchObject({ class: 'safe_to_repeat' })
    const results = await Promise.all(others.map(({ result }) => result))
    expect(results).toMatchObject([{ httpStatus: 200 }, { httpStatus: 200, servedFrom: 'coalesced' }])
    expect(started).toHaveLength(2)
  })

  test('leaves no listener on a signal that outlives the call', async () => {
    const { clock, caller } = setUp()
    const [one, two] = [caller(), caller()]
    await clock.advance(1_000)
    await Promise.all([one.result, two.result])
    expect(getEventListeners(one.cancel.signal, 'abort')).toEqual([])
    expect(getEventListeners(two.cancel.signal, 'abort')).toEqual([])
  })
})
