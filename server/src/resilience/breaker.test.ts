import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BREAKER_SETTINGS } from '../../testing/breaker-settings.ts'
import { manualClock } from '../../testing/manual-clock.ts'
import {
  type BreakerAnswer,
  type BreakerChange,
  type BreakerSettings,
  createBreaker,
  probeLeaseMs,
} from './breaker.ts'
import { SLICES } from './breaker-window.ts'
import type { Health } from './health-of.ts'

const SETTINGS = BREAKER_SETTINGS

function setUp(changed: Partial<BreakerSettings> = {}, random = 0.5) {
  const settings = { ...SETTINGS, ...changed }
  const clock = manualClock()
  const changes: BreakerChange[] = []
  const breaker = createBreaker({ clock, random: () => random, onChange: (change) => changes.push(change) })
  const begin = () => breaker.ask(settings)
  const end = (answer: BreakerAnswer, health: Health, durationMs = 1) => {
    if (answer.pass) breaker.settle(answer.ticket, health, durationMs, settings)
  }
  /** Calls one after the other; true for those that passed. */
  const calls = (...healths: readonly Health[]) =>
    healths.map((health) => {
      const answer = begin()
      end(answer, health)
      return answer.pass
    })
  const times = (count: number, health: Health) => calls(...Array.from({ length: count }, () => health))
  return { breaker, settings, clock, changes, begin, end, calls, times }
}

describe('opening', () => {
  test('transport errors in a row open it, and it refuses with the time that is left', async () => {
    const { times, begin, clock, changes } = setUp()
    expect(times(5, 'transport')).toEqual([true, true, true, true, true])
    await clock.advance(10_000)
    expect(begin()).toEqual({
      pass: false,
      retryAfterMs: 20_000,
      why: '5 calls in a row did not get through',
    })
    expect(changes).toMatchObject([{ from: 'closed', to: 'open', openMs: 30_000 }])
  })

  test('any answer of the upstream ends the row, 429 (no evidence) does not', () => {
    const { calls, breaker } = setUp()
    calls('transport', 'transport', 'transport', 'transport', 'ok')
    calls('transport', 'transport', 'transport', 'transport', 'failed')
    expect(breaker.state).toBe('closed')
    calls('transport', 'transport', 'none', 'transport', 'transport', 'none', 'transport')
    expect(breaker.state).toBe('open')
  })

  test('the share of failures opens it, but not with too few calls', () => {
    const { times, breaker } = setUp()
    times(9, 'ok')
    times(10, 'failed')
    expect(breaker.state).toBe('closed')
    times(1, 'ok')
    expect(breaker).toMatchObject({ state: 'open', why: '10 of 20 calls failed within 30 s' })
  })

  test('calls without evidence make no rate: 100 × 429 beside 10 failures do not reach minCalls', () => {
    const { times, breaker } = setUp()
    times(100, 'none')
    times(19, 'failed')
    expect(breaker.state).toBe('closed')
  })

  test('slow calls open it although they succeed', () => {
    const { begin, end, times, breaker } = setUp()
    times(4, 'ok')
    for (let call = 0; call < 16; call += 1) end(begin(), 'ok', 8_000)
    expect(breaker).toMatchObject({ state: 'open', why: '16 of 20 calls were slow within 30 s' })
  })

  test('what is older than the window is forgotten', async () => {
    const { times, clock, breaker } = setUp()
    times(19, 'failed')
    await clock.advance(30_000)
    times(1, 'failed')
    expect(breaker.state).toBe('closed')
  })

  test('a share is a decimal fraction: 0.55 of 20 is 11', () => {
    const { times, breaker } = setUp({ failureRate: 0.55 })
    times(9, 'ok')
    times(11, 'failed')
    expect(breaker.state).toBe('open')
  })
})

describe('half open', () => {
  const opened = async (changed: Partial<BreakerSettings> = {}) => {
    const world = setUp(changed)
    world.times(5, 'transport')
    await world.clock.advance(30_000)
    return world
  }

  test('one probe at a time', async () => {
    const { begin, end, changes } = await opened()
    const probe = begin()
    expect(probe).toMatchObject({ pass: true, probe: true })
    expect(begin()).toMatchObject({ pass: false, retryAfterMs: 1_000 })
    end(probe, 'ok')
    expect(begin()).toMatchObject({ pass: true, probe: true })
    expect(changes.at(-1)).toMatchObject({ from: 'open', to: 'half_open' })
  })

  test('closes as soon as enough probes were healthy, and counts from zero', async () => {
    const { calls, breaker, changes } = await opened()
    expect(calls('ok', 'failed', 'ok', 'transport', 'ok')).toEqual([true, true, true, true, true])
    expect(changes.at(-1)).toMatchObject({ from: 'half_open', to: 'closed' })
    calls('transport', 'transport', 'transport', 'transport')
    expect(breaker.state).toBe('closed')
  })

  test('opens again, for twice as long, as soon as too many failed', async () => {
    const { calls, changes } = await opened()
    expect(calls('ok', 'failed', 'failed', 'failed', 'ok')).toEqual([true, true, true, true, false])
    expect(changes.at(-1)).toMatchObject({ from: 'half_open', to: 'open', openMs: 60_000 })
  })

  test('a slow probe is not healthy: what opened it by being slow must not close it by being slow', async () => {
    const { begin, end, breaker } = await opened()
    for (let probe = 0; probe < 3; probe += 1) end(begin(), 'ok', 8_000)
    expect(breaker.state).toBe('open')
  })

  test('a probe without evidence only makes room for the next one', async () => {
    const { times, breaker } = await opened()
    expect(times(10, 'none')).not.toContain(false)
    expect(breaker.state).toBe('half_open')
  })

  test('a probe that is told of too many requests shows that the upstream lives', async () => {
    const { breaker, times } = await opened({ probes: 3, closeRate: 1 })
    times(3, 'busy')
    expect(breaker.state).toBe('closed')
  })

  test('ends also when no probe says anything: as many of them as decide count as one that failed', async () => {
    const { breaker, times } = await opened({ probes: 2, closeRate: 1 })
    times(1, 'none')
    expect(breaker.state).toBe('half_open')
    times(1, 'none')
    expect(breaker.state).toBe('open')
  })

  test('a probe that never ends is given up, and its late end does not count', async () => {
    const { begin, end, clock, breaker } = await opened({ probes: 1, closeRate: 1 })
    const lost = begin()
    await clock.advance(probeLeaseMs(SETTINGS))
    const probe = begin()
    expect(probe).toMatchObject({ pass: true, probe: true })
    end(lost, 'failed')
    expect(breaker.state).toBe('half_open')
    end(probe, 'ok')
    expect(breaker.state).toBe('closed')
  })

  test('calls that began before it opened say nothing about the probes', async () => {
    const { begin, end, times, clock, breaker } = setUp()
    const old = Array.from({ length: 3 }, begin)
    times(5, 'transport')
    await clock.advance(30_000)
    begin()
    for (const call of old) end(call, 'ok')
    expect(breaker.state).toBe('half_open')
  })
})

describe('open time', () => {
  test('doubles up to the cap, and begins anew after it was closed', async () => {
    const { times, clock, changes } = setUp({ probes: 1, closeRate: 1 })
    times(5, 'transport')
    for (let again = 0; again < 5; again += 1) {
      await clock.advance(300_000)
      times(1, 'transport')
    }
    await clock.advance(300_000)
    times(1, 'ok')
    times(5, 'transport')
    expect(changes.flatMap(({ openMs = [] }) => openMs)).toEqual([
      30_000, 60_000, 120_000, 240_000, 300_000, 300_000, 30_000,
    ])
  })

  test.each([
    [0, 24_000],
    [1, 36_000],
  ])('is spread by a fifth (chance %d)', (random, openMs) => {
    const { times, changes } = setUp({}, random)
    times(5, 'transport')
    expect(changes[0]).toMatchObject({ openMs })
  })

  test('an opening that somebody else knows of opens it; an open one is only made longer, never shorter', async () => {
    const { breaker, changes, times } = setUp()
    breaker.openFor(5_000, 'elsewhere')
    expect([breaker.state, breaker.openForMs()]).toEqual(['open', 5_000])
    breaker.openFor(1_000, 'elsewhere')
    expect(breaker.openForMs()).toBe(5_000)
    breaker.openFor(9_000, 'elsewhere')
    expect(breaker.openForMs()).toBe(9_000)
    expect(changes).toHaveLength(1)
    breaker.close('by hand')
    expect(times(1, 'ok')).toEqual([true])
  })
})

test('whatever happens, it does what a naive model does that keeps the whole history', async () => {
  const command = fc.oneof(
    { weight: 4, arbitrary: fc.constant({ type: 'begin' as const }) },
    {
      weight: 4,
      arbitrary: fc.record({
        type: fc.constant('end' as const),
        which: fc.nat({ max: 7 }),
        health: fc.constantFrom<Health>('ok', 'failed', 'transport', 'busy', 'none'),
        durationMs: fc.constantFrom(1, 99, 100, 500),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ type: fc.constant('wait' as const), ms: fc.constantFrom(1, 30, 130, 700) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant('heard' as const), ms: fc.integer({ min: 1, max: 900 }) }),
    },
  )
  const policy = fc.record({
    consecutiveFailures: fc.integer({ min: 1, max: 4 }),
    failureRate: fc.constantFrom(0.3, 0.5, 1),
    slowRate: fc.constantFrom(0.5, 1),
    minCalls: fc.integer({ min: 1, max: 6 }),
    probes: fc.integer({ min: 1, max: 5 }),
    closeRate: fc.constantFrom(0.2, 0.6, 1),
  })
  await fc.assert(
    fc.asyncProperty(
      policy,
      fc.array(command, { maxLength: 120 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      async (chosen, commands, random) => {
        const { breaker, settings, clock, changes, begin, end } = setUp(
          { ...chosen, slowCallMs: 100, windowMs: 500, openMs: 200, openCapMs: 700, attemptMs: 100 },
          random,
        )
        const needed = Math.ceil(settings.closeRate * settings.probes - 1e-6)
        const started: { answer: BreakerAnswer; epoch: number; at: number }[] = []
        let epoch = 0
        let state = 'closed'
        let until = 0
        let openings = 0
        let seen: { at: number; health: Health; slow: boolean }[] = []
        let probe: { epoch: number; at: number } | undefined
        let silent = 0
        const become = (to: string) => {
          state = to
          epoch += 1
          seen = []
          probe = undefined
          silent = 0
          if (to === 'closed') openings = 0
        }
        const opens = (ms: number) => {
          become('open')
          openings += 1
          until = clock.monotonic() + ms
        }
        /** The time is random, so it is taken from the breaker after a look at its range. */
        const opensByItself = () => {
          const full = Math.min(700, 200 * 2 ** openings)
          const ms = changes.at(-1)?.openMs ?? Number.NaN
          expect(ms).toBeGreaterThanOrEqual(Math.floor(full * 0.8))
          expect(ms).toBeLessThanOrEqual(Math.ceil(full * 1.2))
          opens(ms)
        }
        const judge = (now: number) => {
          if (state === 'half_open') {
            const good = seen.filter(
              ({ health, slow }) => (health === 'ok' || health === 'busy') && !slow,
            ).length
            if (good >= needed) become('closed')
            else if (seen.length - good > settings.probes - needed) opensByItself()
            return
          }
          const row = seen.length - 1 - seen.findLastIndex(({ health }) => health !== 'transport')
          const slice = (at: number) => Math.floor((at * SLICES) / settings.windowMs)
          const recent = seen.filter(({ at }) => slice(now) - slice(at) < SLICES)
          const share = (of: (call: (typeof seen)[number]) => boolean) =>
            recent.filter(of).length / recent.length
          const failed = share(({ health }) => health !== 'ok')
          const slow = share((call) => call.slow)
          const rates =
            (failed > 0 && failed >= settings.failureRate) || (slow > 0 && slow >= settings.slowRate)
          if (row >= settings.consecutiveFailures || (recent.length >= settings.minCalls && rates))
            opensByItself()
        }

        for (const step of commands) {
          const now = clock.monotonic()
          if (step.type === 'wait') await clock.advance(step.ms)
          else if (step.type === 'heard') {
            breaker.openFor(step.ms, 'heard')
            if (state === 'open') until = Math.max(until, now + step.ms)
            else opens(step.ms)
          } else if (step.type === 'begin') {
            const answer = begin()
            if (state === 'open' && now >= until) become('half_open')
            const busy = probe !== undefined && now - probe.at < probeLeaseMs(settings)
            expect(answer.pass).toBe(state === 'closed' || (state === 'half_open' && !busy))
            if (state === 'half_open' && answer.pass) {
              epoch += 1
              probe = { epoch, at: now }
            }
            started.push({ answer, epoch, at: now })
          } else {
            const [call] = started.splice(step.which, 1)
            if (call?.answer.pass !== true) continue
            end(call.answer, step.health, step.durationMs)
            if (call.epoch === epoch && state !== 'open') {
              probe = undefined
              const isProbe = state === 'half_open'
              silent = isProbe && step.health === 'none' ? silent + 1 : 0
              const isSilent = step.health === 'none' && silent < settings.probes
              if (isProbe ? !isSilent : step.health !== 'none' && step.health !== 'busy') {
                silent = 0
                seen.push({ at: now, health: step.health, slow: step.durationMs >= 100 })
                judge(now)
              }
            }
          }
          expect(breaker.state).toBe(state)
        }
      },
    ),
    { numRuns: 300 },
  )
})
