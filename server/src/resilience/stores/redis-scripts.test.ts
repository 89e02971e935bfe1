import { createClient } from '@redis/client'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HAS_REDIS, type RedisServer, startRedis } from '../../../testing/redis.ts'
import { hasRoom, noDebt, reserveOf, settleDebt, stateOf, take } from '../gcra.ts'
import { CHARGE } from './redis-scripts.ts'
import type { RateLimit } from './store.ts'

const START_US = 1_795_000_000_000_000
/** The script by a clock of the test, given behind its other arguments; keys outlive the test instead of the debt. */
const BY_OUR_CLOCK = CHARGE.lua
  .replace("redis.call('TIME')", '{ ARGV[#ARGV - 1], ARGV[#ARGV] }')
  .replace("'PX', reset)", "'PX', 3600000)")

const limits = fc.record({
  permits: fc.integer({ min: 1, max: 5_000 }),
  periodMs: fc.integer({ min: 1, max: 86_400_000 }),
  burst: fc.integer({ min: 1, max: 1_000 }),
})
const calls = fc.array(
  fc.record({
    waitUs: fc.oneof(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 5_000_000 })),
    cost: fc.integer({ min: 1, max: 20 }),
    /** Which of two limits is in force: operators change them. */
    second: fc.boolean(),
    leaves: fc.integer({ min: 0, max: 30 }),
  }),
  { minLength: 1, maxLength: 30 },
)

describe.skipIf(!HAS_REDIS)('the script that charges', () => {
  let server: RedisServer
  let ask: (command: string[]) => Promise<unknown>
  let close: () => void
  let played = 0
  beforeAll(async () => {
    server = await startRedis()
    const client = await createClient({ url: server.url }).connect()
    ask = (command) => client.sendCommand(command)
    close = () => client.destroy()
  })
  afterAll(async () => {
    close()
    await server.stop()
  })

  const charge = async (key: string, limit: RateLimit, cost: number, nowUs: number, reserve = 0) => {
    const figures = [limit.permits, limit.periodMs * 1_000, limit.burst, cost, 1, reserve]
    const time = [Math.floor(nowUs / 1e6), nowUs % 1e6]
    const answer = await ask(['EVAL', BY_OUR_CLOCK, '1', key, ...[...figures, ...time].map(String)])
    const [, room, remaining, wait = 0, resetMs] = answer as number[]
    return {
      allowed: room === 1,
      remaining,
      retryAfterMs: wait < 0 ? Number.POSITIVE_INFINITY : wait,
      resetMs,
    }
  }

  test('decides as gcra.ts does, to the permit and the ms, whatever the calls and the changes of the limit', async () => {
    await fc.assert(
      fc.asyncProperty(limits, limits, calls, async (one, two, script) => {
        played += 1
        const debt = noDebt()
        let nowUs = START_US
        for (const { waitUs, cost, second, leaves } of script) {
          nowUs += waitUs
          const limit = second ? two : one
          settleDebt(debt, limit, nowUs)
          const reserve = reserveOf({ limit, cost, reserve: leaves })
          const room = hasRoom(debt, limit, cost, reserve)
          if (room) take(debt, cost)
          expect(await charge(`{g}:${played}`, limit, cost, nowUs, reserve)).toEqual(
            stateOf(debt, limit, cost, room, reserve),
          )
        }
      }),
      { numRuns: 150 },
    )
  })

  test('a clock that goes back, as after a failover, neither gives permits nor stops the paying back', async () => {
    const limit = { permits: 1, periodMs: 1_000, burst: 2 }
    expect(await charge('{g}:back', limit, 2, START_US)).toMatchObject({ allowed: true, remaining: 0 })
    const hourEarlier = START_US - 3_600_000_000
    const early = [0, 999_999].map((us) => charge('{g}:back', limit, 1, hourEarlier + us))
    expect(await Promise.all(early)).toMatchObject([
      { allowed: false, retryAfterMs: 1_000 },
      { allowed: false, retryAfterMs: 1 },
    ])
    expect(await charge('{g}:back', limit, 1, hourEarlier + 1_000_000)).toMatchObject({ allowed: true })
  })
})
