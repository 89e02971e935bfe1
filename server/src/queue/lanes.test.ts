import { describe, expect, test } from 'vitest'
import type { LaneKey, QueueName } from './job.ts'
import { createLanes, type Grant, type LaneAnswer, type Lanes } from './lanes.ts'
import { createWatermark } from './watermark.ts'

const key = (tenantId: string, lane = 1, queue: QueueName = 'default'): LaneKey => ({ queue, tenantId, lane })
const answer = (verdict: LaneAnswer['verdict'], more: Partial<LaneAnswer> = {}): LaneAnswer => ({
  verdict,
  taken: 0,
  last: [null, null, null, null],
  wait_ms: null,
  ...more,
})

/** Claims from a pretended backlog until `rounds` claims are done; gives jobs per tenant. */
function serve(
  lanes: Lanes,
  backlog: Map<string, number>,
  rounds: number,
  shared: number,
): Map<string, number> {
  const served = new Map<string, number>()
  for (let round = 0; round < rounds; round += 1) {
    const grants = lanes.plan({ shared, reserved: 0, turn: 2 })
    lanes.answered(
      grants,
      grants.map(({ tenantId, take }) => {
        const waiting = backlog.get(tenantId) ?? 0
        const taken = Math.min(waiting, take)
        backlog.set(tenantId, waiting - taken)
        served.set(tenantId, (served.get(tenantId) ?? 0) + taken)
        return answer(taken < take ? 'drained' : 'more', { taken })
      }),
    )
  }
  return served
}

const total = (grants: readonly Grant[]) => grants.reduce((sum, { take }) => sum + take, 0)

describe('lanes', () => {
  test('a tenant with a huge backlog does not keep the others waiting', () => {
    const lanes = createLanes(() => 0)
    const small = Array.from({ length: 10 }, (_, n) => `small-${n}`)
    lanes.hint([key('whale'), ...small.map((tenant) => key(tenant))])
    const backlog = new Map([['whale', 800_000], ...small.map((tenant) => [tenant, 4] as const)])
    const served = serve(lanes, backlog, 4, 12)
    for (const tenant of small) expect(served.get(tenant)).toBe(4)
    expect(served.get('whale')).toBeGreaterThan(0)
  })

  test('a lane that was idle is fresh from its hint until a claim asks it', () => {
    const lanes = createLanes(() => 0)
    lanes.hint([key('a'), key('b')])
    expect(lanes.fresh).toBe(2)
    const [grant] = lanes.plan({ shared: 1, reserved: 0, turn: 2 })
    expect(lanes.fresh).toBe(1)
    lanes.hint([key('a')])
    expect(lanes.fresh).toBe(1)
    lanes.answered(grant ? [grant] : [], [answer('capped')])
    lanes.hint([key('a')])
    expect(lanes.fresh).toBe(1)
  })

  test('equal tenants get equal shares, also when one place is free at a time', () => {
    const lanes = createLanes(() => 0)
    lanes.hint(['a', 'b', 'c'].map((tenant) => key(tenant)))
    const served = serve(
      lanes,
      new Map([
        ['a', 1e6],
        ['b', 1e6],
        ['c', 1e6],
      ]),
      300,
      1,
    )
    expect([...served.values()]).toEqual([100, 100, 100])
  })

  test('weights are shares of the turns', () => {
    const lanes = createLanes(() => 0)
    lanes.found([
      { ...key('plain'), priority: 2, seq: 1, weight: 1 },
      { ...key('heavy'), priority: 2, seq: 2, weight: 3 },
    ])
    const served = serve(
      lanes,
      new Map([
        ['plain', 1e6],
        ['heavy', 1e6],
      ]),
      100,
      8,
    )
    expect(served).toEqual(
      new Map([
        ['plain', 200],
        ['heavy', 600],
      ]),
    )
  })

  test('the lanes of one tenant take turns', () => {
    const lanes = createLanes(() => 0)
    lanes.hint([key('a', 1), key('a', 2), key('a', 3)])
    expect(lanes.plan({ shared: 6, reserved: 0, turn: 2 }).map(({ lane, take }) => [lane, take])).toEqual([
      [1, 2],
      [2, 2],
      [3, 2],
    ])
  })

  test('every queue moves, the important ones faster; reserved places are for critical only', () => {
    const lanes = createLanes(() => 0)
    const queues = ['critical', 'webhook', 'default', 'low'] as const
    lanes.hint(queues.map((queue) => key('a', 1, queue)))
    const takes = new Map(
      lanes.plan({ shared: 30, reserved: 0, turn: 2 }).map(({ queue, take }) => [queue, take]),
    )
    expect(Object.fromEntries(takes)).toEqual({ critical: 16, webhook: 8, default: 4, low: 2 })
    const reserved = lanes.plan({ shared: 0, reserved: 5, turn: 2 })
    expect(reserved.map(({ queue, take }) => [queue, take])).toEqual([['critical', 5]])
  })

  test('low keeps its share of the places under a default that never runs dry, also one place at a time', () => {
    const lanes = createLanes(() => 0)
    lanes.hint(Array.from({ length: 200 }, (_, at) => key(`tenant-${at}`, 1)))
    lanes.hint([key('a', 1, 'low')])
    const takesOf = (places: number, rounds: number) => {
      let low = 0
      for (let round = 0; round < rounds; round += 1)
        low += total(
          lanes.plan({ shared: places, reserved: 0, turn: 2 }).filter(({ queue }) => queue === 'low'),
        )
      return low
    }
    // One of three places: the weights are 2 and 1.
    expect(takesOf(1, 300)).toBe(100)
    // More lanes than one claim asks.
    expect(takesOf(150, 10)).toBeGreaterThanOrEqual(10 * 30)
  })

  test('a hint that arrives during a claim outlives its "drained"', () => {
    const lanes = createLanes(() => 0)
    lanes.hint([key('a')])
    const grants = lanes.plan({ shared: 1, reserved: 0, turn: 2 })
    lanes.hint([key('a')])
    lanes.answered(grants, [answer('drained')])
    expect(lanes.active).toBe(1)
    const again = lanes.plan({ shared: 1, reserved: 0, turn: 2 })
    lanes.answered(again, [answer('drained')])
    expect(lanes.active).toBe(0)
  })

  test('a capped lane waits for a settlement of its tenant or 100 ms, a blocked one for its time', () => {
    let now = 0
    const lanes = createLanes(() => now)
    lanes.hint([key('capped'), key('blocked'), key('paused')])
    const grants = lanes.plan({ shared: 6, reserved: 0, turn: 2 })
    lanes.answered(
      grants,
      grants.map(({ tenantId }) => {
        if (tenantId === 'capped') return answer('capped')
        return tenantId === 'paused' ? answer('paused') : answer('blocked', { wait_ms: 5_000 })
      }),
    )
    const planned = () => lanes.plan({ shared: 6, reserved: 0, turn: 2 }).map(({ tenantId }) => tenantId)
    // A hint does not wake a parked lane: new jobs do not change why it is parked.
    lanes.hint([key('capped'), key('blocked')])
    expect(planned()).toEqual([])
    expect(lanes.nextDueMs()).toBe(100)
    lanes.settled(key('blocked'))
    lanes.settled(key('capped', 2))
    expect(planned()).toEqual(['capped'])
    now = 5_000
    expect(planned().toSorted()).toEqual(['blocked', 'capped'])
    // A paused lane comes back by discovery or by a hint.
    lanes.found([{ ...key('paused'), priority: 2, seq: 9, weight: 1 }])
    expect(planned()).toContain('paused')
  })

  test('a block that is ended early is heard of by discovery; the cap of a lane is not', () => {
    const lanes = createLanes(() => 0)
    lanes.hint([key('blocked'), key('capped')])
    const grants = lanes.plan({ shared: 4, reserved: 0, turn: 2 })
    lanes.answered(
      grants,
      grants.map(({ tenantId }) =>
        tenantId === 'capped' ? answer('capped') : answer('blocked', { wait_ms: 86_400_000 }),
      ),
    )
    // Somebody else's blocked lane is not in what the scan gives.
    lanes.found([{ ...key('other'), priority: 2, seq: 1, weight: 1 }])
    expect(lanes.plan({ shared: 4, reserved: 0, turn: 2 }).map(({ tenantId }) => tenantId)).toEqual(['other'])
    lanes.found(['blocked', 'capped'].map((tenant) => ({ ...key(tenant), priority: 2, seq: 1, weight: 1 })))
    const planned = lanes.plan({ shared: 4, reserved: 0, turn: 2 }).map(({ tenantId }) => tenantId)
    expect(planned.toSorted()).toEqual(['blocked', 'other'])
  })

  test('a lane that was blocked sends one job ahead, and the others when it has ended or goes on for a second', () => {
    let now = 0
    const lanes = createLanes(() => now)
    const claim = (verdict: LaneAnswer['verdict'], waitMs: number | null = null) => {
      const grants = lanes.plan({ shared: 10, reserved: 0, turn: 2 })
      lanes.answered(
        grants,
        grants.map(({ take }) => answer(verdict, { taken: verdict === 'more' ? take : 0, wait_ms: waitMs })),
      )
      return total(grants)
    }
    lanes.hint([key('a')])
    expect(claim('blocked', 5_000)).toBe(10)
    now = 5_000
    // Another node was at the tenant: nothing was sent ahead yet.
    expect(claim('contended')).toBe(1)
    expect(claim('more')).toBe(1)
    expect(claim('more')).toBe(0)
    lanes.hint([key('a')])
    lanes.settled(key('a', 2))
    lanes.settled(key('a', 1, 'low'))
    expect(claim('more')).toBe(0)
    lanes.settled(key('a'))
    // It was told to wait, so the claim is; and the next time one goes ahead again.
    expect(claim('blocked', 5_000)).toBe(10)
    now = 10_000
    expect(claim('more')).toBe(1)
    now = 10_999
    expect(claim('more')).toBe(0)
    now = 11_000
    expect(claim('more')).toBe(10)
    expect(claim('more')).toBe(10)
  })

  test('asks at most 64 lanes at once', () => {
    const lanes = createLanes(() => 0)
    lanes.hint(Array.from({ length: 200 }, (_, n) => key(`t${n}`)))
    const grants = lanes.plan({ shared: 500, reserved: 0, turn: 2 })
    expect(grants).toHaveLength(64)
    expect(total(grants)).toBeLessThanOrEqual(500)
  })

  test('critical does not use up the lanes of a claim while places are free for the others', () => {
    const lanes = createLanes(() => 0)
    lanes.hint(Array.from({ length: 200 }, (_, n) => key(`t${n}`, 1, 'critical')))
    lanes.hint([key('a', 1, 'webhook'), key('a', 1, 'default'), key('a', 1, 'low')])
    for (let round = 0; round < 3; round += 1) {
      const grants = lanes.plan({ shared: 400, reserved: 150, turn: 2 })
      expect(new Set(grants.map(({ queue }) => queue))).toEqual(
        new Set(['critical', 'webhook', 'default', 'low']),
      )
    }
    // Without free places of the others critical has all lanes of the claim.
    expect(lanes.plan({ shared: 0, reserved: 150, turn: 2 })).toHaveLength(64)
  })

  test('a lane that one claim had no room for is the first of the next', () => {
    const lanes = createLanes(() => 0)
    // One more than a claim asks: by turns that are lost at the bound, the last would wait for ever.
    lanes.hint(Array.from({ length: 65 }, (_, n) => key('a', n + 1)))
    lanes.plan({ shared: 500, reserved: 0, turn: 2 })
    expect(lanes.plan({ shared: 500, reserved: 0, turn: 2 })[0]?.lane).toBe(65)
  })

  test('a lane keeps its watermark while it is drained', () => {
    let now = 1_000
    const lanes = createLanes(() => now)
    const claim = (last: number) => {
      const grants = lanes.plan({ shared: 1, reserved: 0, turn: 2 })
      lanes.answered(grants, [answer('drained', { last: [null, last, null, null] })])
      return grants[0]?.low
    }
    lanes.hint([key('a')])
    claim(100)
    now += 1_000
    lanes.hint([key('a')])
    claim(200)
    lanes.hint([key('a')])
    expect(claim(300)).toEqual([0, 100, 0, 0])
  })
})

describe('watermark', () => {
  test('trails the last claim, because numbers are drawn before the commit', () => {
    const mark = createWatermark()
    mark.claimed([null, 10, null, null], 1_000)
    mark.claimed([null, 20, null, null], 1_400)
    expect(mark.low()).toEqual([0, 0, 0, 0])
    mark.claimed([null, 30, null, null], 1_500)
    // 10 was claimed 500 ms ago: what commits now with a lower number is for the discovery scan.
    expect(mark.low()).toEqual([0, 10, 0, 0])
    mark.claimed([null, null, null, null], 2_000)
    expect(mark.low()).toEqual([0, 30, 0, 0])
  })

  test('falls back to a waiting row that it would hide', () => {
    const mark = createWatermark()
    mark.claimed([null, 10, null, null], 1_000)
    mark.claimed([null, 20, null, null], 2_000)
    mark.claimed([null, 20, null, null], 3_000)
    expect(mark.low()[1]).toBe(20)
    mark.seen(2, 25)
    expect(mark.low()[1]).toBe(20)
    mark.seen(2, 7)
    expect(mark.low()[1]).toBe(6)
    mark.claimed([null, null, null, null], 9_000)
    expect(mark.low()[1]).toBe(6)
  })
})
