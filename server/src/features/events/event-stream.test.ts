import { describe, expect, test } from 'vitest'
import { manualClock } from '../../../testing/manual-clock.ts'
import { eventFrame, pumpEvents, StalledReader, type StreamSession } from './event-stream.ts'
import { type EventSlice, encodePosition, type LoggedEvent } from './events.ts'

/** A reader of the stream that takes bytes only when told. */
function output(accepts: () => boolean) {
  const written: string[] = []
  const waiting = new Set<() => void>()
  return {
    written,
    waiting,
    write: (text: string) => {
      written.push(text)
      return accepts()
    },
    once: (_event: 'drain', listener: () => void) => waiting.add(listener),
    removeListener: (_event: 'drain', listener: () => void) => waiting.delete(listener),
    drain: () => {
      for (const wake of [...waiting]) wake()
    },
  }
}

const event = (seq: number) => ({ xid: '7', seq }) as LoggedEvent

const slice = (seqs: readonly number[], complete: boolean): EventSlice => ({
  events: seqs.map(event),
  complete,
  position: complete ? { xid: '9', seq: 0 } : { xid: '7', seq: seqs.at(-1) ?? 0 },
})

/** A session over a log of ten slices of two events; `reads` counts how many were taken from it. */
function session(overrides: Partial<StreamSession> = {}) {
  const clock = manualClock()
  const sink = output(() => true)
  const state = { reads: 0, news: [] as boolean[] }
  const stop = new AbortController()
  const full: StreamSession = {
    output: sink,
    first: slice([1, 2], false),
    read: async () => {
      state.reads += 1
      return state.reads < 10 ? slice([state.reads * 2 + 1, state.reads * 2 + 2], false) : slice([], true)
    },
    follower: {
      news: async (withinMs, signal) => {
        await clock.sleep(withinMs, signal)
        return state.news.shift() ?? false
      },
      stop: () => undefined,
    },
    frame: ({ seq }) => eventFrame(String(seq), `{"seq":${seq}}`),
    clock,
    expiresAt: clock.now() + 600_000,
    signal: stop.signal,
    heartbeatMs: 15_000,
    stallMs: 30_000,
    askMs: 1_000,
    mayGoOn: async () => undefined,
    ...overrides,
  }
  return { session: full, clock, sink, state, stop }
}

describe('a stream', () => {
  test('reads nothing more while its reader takes nothing', async () => {
    let open = true
    const sink = output(() => open)
    const { session: slow, clock, state, stop } = session({ output: sink })
    open = false
    const pumping = pumpEvents(slow)
    pumping.catch(() => undefined)
    await clock.whenSleeping()
    expect({ reads: state.reads, written: sink.written.length }).toEqual({ reads: 0, written: 1 })
    // One drain lets exactly one more block out.
    sink.drain()
    await clock.advance(0)
    expect({ reads: state.reads, written: sink.written.length }).toEqual({ reads: 0, written: 2 })
    sink.drain()
    await clock.advance(0)
    expect({ reads: state.reads, written: sink.written.length }).toEqual({ reads: 1, written: 3 })
    expect(sink.waiting.size).toBe(1)
    stop.abort(new Error('end of the test'))
    await expect(pumping).rejects.toThrow('end of the test')
    expect(sink.waiting.size, 'no listener stays behind').toBe(0)
    expect(clock.sleeping).toBe(0)
  })

  test('cuts off a reader that takes nothing for too long', async () => {
    const { session: stalled, clock } = session({ output: output(() => false) })
    const pumping = pumpEvents(stalled)
    const outcome = expect(pumping).rejects.toThrow(StalledReader)
    await clock.whenSleeping()
    await clock.advance(30_000)
    await outcome
  })

  test('beats when there is nothing to tell, and each beat names the place to resume from', async () => {
    const { session: quiet, clock, sink, stop } = session({ first: slice([], true) })
    const pumping = pumpEvents(quiet)
    pumping.catch(() => undefined)
    await clock.whenSleeping()
    const place = `id: ${encodePosition({ xid: '9', seq: 0 })}\n\n`
    expect(sink.written).toEqual(['retry: 2000\n\n', place])
    await clock.advance(15_000)
    expect(sink.written.at(-1)).toBe(`: heartbeat\n${place}`)
    stop.abort(new Error('end of the test'))
    await expect(pumping).rejects.toThrow('end of the test')
  })

  test('ends when its token ends, also between two heartbeats and also when it never pauses', async () => {
    const quiet = session({ first: slice([], true) })
    const ending = pumpEvents({ ...quiet.session, expiresAt: quiet.clock.now() + 20_000 })
    await quiet.clock.whenSleeping()
    await quiet.clock.advance(20_000)
    await ending

    const busy = session()
    let reads = 0
    await pumpEvents({
      ...busy.session,
      expiresAt: busy.clock.now() + 1_000,
      read: async () => {
        reads += 1
        void busy.clock.advance(400)
        await busy.clock.sleep(400)
        return slice([reads], false)
      },
    })
    expect(reads).toBe(3)
  })

  test('passes on a failure to read', async () => {
    const { session: broken } = session({ read: () => Promise.reject(new Error('no database')) })
    await expect(pumpEvents(broken)).rejects.toThrow('no database')
  })
})
