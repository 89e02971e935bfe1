import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import { bulkhead } from './bulkhead.ts'
import { type BulkheadSettings, createBulkheads } from './bulkhead-places.ts'
import type { CallFailure } from './failure.ts'
import { outermost } from './pipeline.ts'

const SETTINGS: BulkheadSettings = {
  mode: 'enforce',
  maxInFlight: 2,
  maxWaiting: 2,
  waitMs: 1_000,
  workspaceMode: 'enforce',
  workspaceMaxInFlight: 100,
}

function setUp(settings: Partial<BulkheadSettings> = {}) {
  const clock = manualClock()
  const bulkheads = createBulkheads({ clock })
  const wouldHave: string[] = []
  /** The names of the calls in the order in which they got a place, and those that were refused. */
  const begun: string[] = []
  const refused: string[] = []
  const running = new Map<string, () => void>()
  const cancels = new Map<string, AbortController>()
  const call = (
    name: string,
    extra: Partial<BulkheadSettings> & { workspace?: string; connector?: string; totalMs?: number } = {},
  ): Promise<unknown> => {
    const { workspace = 'w', connector = 'stripe', totalMs, ...own } = extra
    const cancel = new AbortController()
    cancels.set(name, cancel)
    const stage = bulkhead({
      bulkheads,
      group: workspace,
      key: connector,
      settings: { ...SETTINGS, ...settings, ...own },
      onWouldHave: (rule) => wouldHave.push(rule),
    })
    const scope = outermost(cancel.signal)
    return stage(
      totalMs === undefined ? scope : { ...scope, deadlineAt: clock.monotonic() + totalMs },
      () => {
        begun.push(name)
        return new Promise<string>((resolve) => running.set(name, () => resolve(name)))
      },
    ).catch((error: CallFailure) => {
      refused.push(name)
      return error
    })
  }
  /** Ends a running call, and lets what follows from it happen. */
  const end = async (name: string) => {
    running.get(name)?.()
    await clock.advance(0)
  }
  const cancel = (name: string) => cancels.get(name)?.abort(new Error('gone'))
  return { clock, bulkheads, call, end, cancel, begun, refused, wouldHave }
}

describe('a connector', () => {
  test('has so many calls in flight, a few more wait, and the rest is refused at once', async () => {
    const { call, begun, refused } = setUp()
    for (const name of ['a', 'b', 'c', 'd']) void call(name)
    const failure = await call('e')
    expect(failure).toMatchObject({
      class: 'never_sent',
      kind: 'concurrency_limited',
      refusedBy: 'bulkhead',
      retryAfterMs: 1_000,
      message: 'All 2 places for calls of the connector are taken.',
    })
    expect([begun, refused]).toEqual([['a', 'b'], ['e']])
  })

  test('with a free place costs no turn: the call begins before the stage returns', () => {
    const { call, begun } = setUp()
    void call('a')
    expect(begun).toEqual(['a'])
  })

  test('gives a place that becomes free to the one that waits longest', async () => {
    const { call, end, begun } = setUp()
    for (const name of ['a', 'b', 'c', 'd']) void call(name)
    await end('b')
    expect(begun).toEqual(['a', 'b', 'c'])
    await end('a')
    expect(begun).toEqual(['a', 'b', 'c', 'd'])
  })

  test('lets nobody overtake those who wait', async () => {
    const { call, end, begun } = setUp()
    for (const name of ['a', 'b', 'c']) void call(name)
    const ended = end('a')
    void call('late')
    await ended
    expect(begun).toEqual(['a', 'b', 'c'])
    await end('b')
    expect(begun).toEqual(['a', 'b', 'c', 'late'])
  })

  test('serves the newest first when its queue has not been empty for more than 100 ms', async () => {
    const { call, end, begun, clock } = setUp({ maxWaiting: 10 })
    for (const name of ['a', 'b', 'c']) void call(name)
    await clock.advance(60)
    for (const name of ['d', 'e']) void call(name)
    await clock.advance(41)
    await end('a')
    expect(begun).toEqual(['a', 'b', 'e'])
    await end('b')
    await end('e')
    expect(begun).toEqual(['a', 'b', 'e', 'd', 'c'])
    // The queue was empty for a moment: this is a new burst, in order again.
    for (const name of ['f', 'g']) void call(name)
    await end('d')
    expect(begun.at(-1)).toBe('f')
  })

  test('gives its place back when the call fails', async () => {
    const { bulkheads, clock } = setUp()
    const stage = bulkhead({ bulkheads, group: 'w', key: 'k', settings: { ...SETTINGS, maxInFlight: 1 } })
    const scope = outermost(new AbortController().signal)
    for (const broken of [
      () => Promise.reject(new Error('upstream')),
      () => {
        throw new Error('at once')
      },
    ])
      await expect(stage(scope, broken)).rejects.toThrow()
    expect(await stage(scope, async () => clock.monotonic())).toBe(0)
  })
})

describe('a wait', () => {
  test('ends after wait_ms with a refusal, and its place in the queue is free again', async () => {
    const { call, clock, begun, end } = setUp({ maxInFlight: 1, maxWaiting: 1 })
    void call('a')
    const waiting = call('b')
    await clock.advance(999)
    expect(await call('c')).toMatchObject({ kind: 'concurrency_limited' })
    await clock.advance(1)
    expect(await waiting).toMatchObject({
      kind: 'concurrency_limited',
      message: 'All 1 places for calls of the connector are taken, and none became free in 1000 ms.',
    })
    void call('d')
    await end('a')
    expect(begun).toEqual(['a', 'd'])
    expect(clock.sleeping).toBe(0)
  })

  test('takes at most a quarter of the time that is left', async () => {
    const { call, clock, refused } = setUp({ maxInFlight: 1 })
    void call('a')
    void call('short', { totalMs: 400 })
    await clock.advance(99)
    expect(refused).toEqual([])
    await clock.advance(1)
    expect(refused).toEqual(['short'])
    void call('no time', { totalMs: 3 })
    await clock.advance(0)
    expect(refused).toEqual(['short', 'no time'])
  })

  test('ends when the caller gives up, and takes no place afterwards', async () => {
    const { call, cancel, end, clock, begun } = setUp({ maxInFlight: 1 })
    void call('a')
    const given = call('b')
    void call('c')
    cancel('b')
    expect(await given).toMatchObject({ class: 'never_sent', kind: 'aborted' })
    await end('a')
    expect(begun).toEqual(['a', 'c'])
    expect(clock.sleeping).toBe(0)
  })

  test('is not begun for a caller that has given up already', async () => {
    const { call, begun, bulkheads, clock } = setUp({ maxInFlight: 1 })
    void call('a')
    const gone = bulkheads.enter(
      'w',
      'stripe',
      { ...SETTINGS, maxInFlight: 1 },
      outermost(AbortSignal.abort(new Error('gone'))),
    )
    await expect(gone).rejects.toMatchObject({ class: 'never_sent', kind: 'aborted' })
    expect([begun, clock.sleeping]).toEqual([['a'], 0])
  })

  test('leaves nothing behind on a signal that lives longer than the call', async () => {
    const { call, bulkheads, end } = setUp({ maxInFlight: 1 })
    const { signal } = new AbortController()
    void call('a')
    const place = bulkheads.enter('w', 'stripe', { ...SETTINGS, maxInFlight: 1 }, outermost(signal))
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    await end('a')
    ;(await place).leave()
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  test('of no length and a queue of no places refuse at once', async () => {
    const { call, refused, clock } = setUp({ maxInFlight: 1 })
    void call('a')
    void call('b', { waitMs: 0 })
    void call('c', { maxWaiting: 0 })
    await clock.advance(0)
    expect(refused).toEqual(['b', 'c'])
  })
})

describe('a workspace', () => {
  test('has a limit over all its connectors, and names it', async () => {
    const { call } = setUp({ workspaceMaxInFlight: 2, waitMs: 0 })
    void call('a', { connector: 'stripe' })
    void call('b', { connector: 'smtp' })
    expect(await call('c', { connector: 's3' })).toMatchObject({
      message: 'All 2 places for calls of the workspace are taken.',
    })
  })

  test('gives its places to its connectors in turn: a busy one does not starve a quiet one', async () => {
    const { call, end, begun } = setUp({ workspaceMaxInFlight: 1, maxWaiting: 10 })
    void call('s1')
    for (const name of ['s2', 's3', 's4']) void call(name)
    void call('m1', { connector: 'smtp' })
    for (const name of ['s1', 's2', 'm1', 's3']) await end(name)
    expect(begun).toEqual(['s1', 's2', 'm1', 's3', 's4'])
  })

  test('a connector that is full does not hold the places of the others', async () => {
    const { call, end, begun } = setUp({ workspaceMaxInFlight: 3, maxInFlight: 2, maxWaiting: 10 })
    for (const name of ['s1', 's2', 's3']) void call(name)
    void call('m1', { connector: 'smtp' })
    void call('m2', { connector: 'smtp' })
    expect(begun).toEqual(['s1', 's2', 'm1'])
    await end('m1')
    expect(begun).toEqual(['s1', 's2', 'm1', 'm2'])
  })

  test('is not touched by what another one does', async () => {
    const { call, begun } = setUp({ maxInFlight: 1, workspaceMaxInFlight: 1, maxWaiting: 50 })
    for (let index = 0; index < 50; index += 1) void call(`loud ${index}`, { workspace: 'loud' })
    void call('quiet', { workspace: 'quiet' })
    expect(begun).toEqual(['loud 0', 'quiet'])
  })
})

describe('modes', () => {
  test('a shadow rule counts, makes nobody wait, and is named when it would have', async () => {
    const shadow = { mode: 'shadow', workspaceMode: 'shadow' } as const
    const { call, begun, wouldHave } = setUp({ ...shadow, maxInFlight: 1, workspaceMaxInFlight: 3 })
    for (const name of ['a', 'b', 'c']) void call(name)
    expect(wouldHave).toEqual(['bulkhead.max_in_flight', 'bulkhead.max_in_flight'])
    void call('d', { connector: 'smtp' })
    expect(wouldHave.slice(2)).toEqual(['bulkhead.workspace_max_in_flight'])
    expect(begun).toEqual(['a', 'b', 'c', 'd'])
  })

  test('of the two rules one may be enforced while the other one only watches', async () => {
    const connectorOnly = setUp({
      maxInFlight: 1,
      workspaceMaxInFlight: 1,
      workspaceMode: 'shadow',
      waitMs: 0,
    })
    void connectorOnly.call('a')
    void connectorOnly.call('b', { connector: 'smtp' })
    expect(await connectorOnly.call('c')).toMatchObject({
      message: 'All 1 places for calls of the connector are taken.',
    })
    expect(connectorOnly.begun).toEqual(['a', 'b'])

    const workspaceOnly = setUp({ maxInFlight: 1, workspaceMaxInFlight: 2, mode: 'off', waitMs: 0 })
    void workspaceOnly.call('a')
    void workspaceOnly.call('b')
    expect(await workspaceOnly.call('c')).toMatchObject({
      message: 'All 2 places for calls of the workspace are taken.',
    })
    expect([workspaceOnly.begun, workspaceOnly.wouldHave]).toEqual([['a', 'b'], []])
  })

  test('a call that no rule holds does not stand behind those that wait', async () => {
    const { call, begun } = setUp({ maxInFlight: 1 })
    for (const name of ['a', 'b']) void call(name)
    void call('shadow', { mode: 'shadow', workspaceMode: 'off' })
    expect(begun).toEqual(['a', 'shadow'])
  })

  test('rules that are both off count nothing', async () => {
    const { call, bulkheads } = setUp({ mode: 'off', workspaceMode: 'off', maxInFlight: 1 })
    void call('a')
    void call('b')
    expect(bulkheads.size).toBe(0)
  })
})

test('who gives up does not leave those behind it waiting for a place that is free for them', async () => {
  const { call, cancel, clock, begun } = setUp({ maxInFlight: 1 })
  void call('a')
  void call('narrow', { maxInFlight: 1 })
  void call('wide', { maxInFlight: 2 })
  expect(begun).toEqual(['a'])
  cancel('narrow')
  await clock.advance(0)
  expect(begun).toEqual(['a', 'wide'])
})

test('connectors without calls are dropped', async () => {
  const { call, end, bulkheads } = setUp()
  for (let index = 0; index < 300; index += 1) {
    void call(`${index}`, { connector: `c${index}`, workspace: `w${index}` })
    await end(`${index}`)
  }
  expect(bulkheads.size).toBeLessThan(10)
})

test('whatever comes and goes, no limit is exceeded, everyone gets an answer and nothing is left behind', async () => {
  const events = fc.array(
    fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          connector: fc.constantFrom('x', 'y', 'z'),
          waitMs: fc.integer({ min: 0, max: 300 }),
        }),
      },
      { weight: 3, arbitrary: fc.record({ end: fc.nat(20) }) },
      { weight: 1, arbitrary: fc.record({ cancel: fc.nat(20) }) },
      { weight: 2, arbitrary: fc.record({ advance: fc.integer({ min: 1, max: 200 }) }) },
    ),
    { maxLength: 60, size: 'max' },
  )
  await fc.assert(
    fc.asyncProperty(events, async (script) => {
      const { call, end, cancel, begun, clock, bulkheads } = setUp({ workspaceMaxInFlight: 4, maxWaiting: 3 })
      const over = new Set<string>()
      const answers: Promise<unknown>[] = []
      const connectorOf = new Map<string, string>()
      const inFlight = () => begun.filter((name) => !over.has(name))
      for (const [index, event] of script.entries()) {
        if ('connector' in event) {
          connectorOf.set(`${index}`, event.connector)
          answers.push(call(`${index}`, { connector: event.connector, waitMs: event.waitMs }))
        } else if ('end' in event) {
          const name = inFlight()[event.end % Math.max(1, inFlight().length)]
          if (name === undefined) continue
          over.add(name)
          await end(name)
        } else if ('cancel' in event) cancel(`${event.cancel}`)
        else await clock.advance(event.advance)
        const now = inFlight()
        expect(now.length).toBeLessThanOrEqual(4)
        for (const connector of ['x', 'y', 'z'])
          expect(now.filter((name) => connectorOf.get(name) === connector).length).toBeLessThanOrEqual(2)
      }
      for (let names = inFlight(); names.length > 0; names = inFlight())
        for (const name of names) {
          over.add(name)
          await end(name)
        }
      await clock.advance(1_000)
      await Promise.all(answers)
      // All places are free again: as many as ever may be taken.
      for (const connector of ['x', 'y'])
        for (const one of ['1', '2']) void call(connector + one, { connector })
      expect(begun.slice(-4)).toEqual(['x1', 'x2', 'y1', 'y2'])
      expect(bulkheads.size).toBeLessThanOrEqual(4)
    }),
    { numRuns: 60 },
  )
})
