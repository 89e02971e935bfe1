import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sampleClaimed } from '../../testing/claimed-job.ts'
import { newId } from '../platform/ids.ts'
import type { ClaimedJob, QueueName } from './job.ts'
import { createPlaces, type Places } from './places.ts'

const [BIG, SMALL] = [newId(), newId()]

/** Ten places, two of them for critical; time stands still until the test moves it. */
function node() {
  const time = { ms: 0 }
  const running: ClaimedJob[] = []
  const places = createPlaces({ concurrency: 10, start: ({ job }) => running.push(job), now: () => time.ms })
  let leaseId = 0
  return {
    ...{ time, running, places },
    take: (jobs: number, queue: QueueName = 'default', tenantId = BIG) => {
      for (let n = 0; n < jobs; n += 1) {
        leaseId += 1
        const job = sampleClaimed({ queue, leaseId, tenantId })
        places.take({ job, sinceMs: time.ms, readySinceMs: time.ms, expiresMs: Infinity })
      }
    },
    end: (jobs: number) => {
      for (const job of running.splice(0, jobs)) places.ended(job)
    },
  }
}
const total = (places: Places) => places.wanted(false).shared + places.wanted(false).reserved

describe('places', () => {
  test('a fresh node wants what it can start, a fifth of it for critical', () => {
    expect(node().places.wanted(false)).toEqual({ shared: 8, reserved: 2, turn: 2 })
  })

  test('long attempts: nothing is claimed ahead', () => {
    const { time, places, take, end } = node()
    take(8)
    for (let n = 0; n < 20; n += 1) {
      time.ms += 1_000
      end(1)
      expect(places.wanted(false)).toEqual({ shared: 1, reserved: 2, turn: 2 })
      take(1)
    }
  })

  test('short attempts: what is worked off in the next milliseconds is claimed ahead, at most as much as runs', () => {
    const { time, places, take, end } = node()
    for (let n = 0; n < 1_000; n += 1) {
      take(8)
      time.ms += 1
      end(8)
    }
    take(8)
    expect(places.wanted(false)).toEqual({ shared: 10, reserved: 2, turn: 2 })
    take(5)
    expect(places.wanted(false)).toEqual({ shared: 5, reserved: 2, turn: 2 })
    take(1)
    // More than half of it is here: the next claim waits until it brings more than a few.
    expect(places.wanted(false)).toEqual({ shared: 0, reserved: 2, turn: 2 })
    // But not for somebody who has just come.
    expect(places.wanted(true)).toEqual({ shared: 4, reserved: 2, turn: 2 })
    take(4)
    expect(places.wanted(true)).toEqual({ shared: 4, reserved: 2, turn: 2 })
    take(10)
    expect(places.wanted(true)).toEqual({ shared: 0, reserved: 2, turn: 2 })
    time.ms += 10_000
    expect(total(places)).toBe(2)
  })

  test('a job that waits starts when a place is free, the first one first', () => {
    const { running, take, end } = node()
    take(10)
    expect(running.map(({ leaseId }) => leaseId)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    end(1)
    expect(running.at(-1)?.leaseId).toBe(9)
  })

  test('tenants have places in turn: what one has claimed ahead does not delay the other', () => {
    const { running, take, end } = node()
    take(14)
    take(2, 'default', SMALL)
    end(4)
    expect(running.slice(4).map(({ leaseId }) => leaseId)).toEqual([9, 15, 10, 16])
  })

  test('critical jobs start in their own places and pass those that wait for another', () => {
    const { running, take, end } = node()
    take(12)
    take(3, 'critical')
    expect(running.filter(({ queue }) => queue === 'critical')).toHaveLength(2)
    end(1)
    expect(running.filter(({ queue }) => queue === 'critical')).toHaveLength(3)
  })

  test('what is given up never starts', () => {
    const { time, running, places, take, end } = node()
    take(9)
    time.ms += 500
    take(1)
    expect(places.giveUp(10)?.job.leaseId).toBe(10)
    expect(places.giveUp(10)).toBeUndefined()
    expect(places.giveUp(1)).toBeUndefined()
    expect(places.giveUpAfter(501)).toEqual([])
    expect(places.giveUpAfter(500).map(({ job }) => job.leaseId)).toEqual([9])
    end(8)
    expect(running).toEqual([])
  })

  test('never more than its places, never others in those of critical, and nobody waits beside a free one', () => {
    const queues = fc.array(fc.constantFrom<QueueName>('critical', 'default', 'low'), { maxLength: 30 })
    const steps = fc.array(fc.record({ take: queues, end: fc.nat(12), ms: fc.nat(50) }))
    fc.assert(
      fc.property(steps, (taken) => {
        const { time, running, take, end } = node()
        let here = 0
        for (const step of taken) {
          for (const queue of step.take) take(1, queue)
          time.ms += step.ms
          here += step.take.length - Math.min(step.end, running.length)
          end(step.end)
          expect(running.length).toBeLessThanOrEqual(10)
          if (running.length < 8) expect(running).toHaveLength(here)
        }
      }),
    )
  })

  test('others never start in the places of critical', () => {
    fc.assert(
      fc.property(fc.nat(20), fc.nat(20), (others, critical) => {
        const { running, take } = node()
        take(others)
        take(critical, 'critical')
        const urgent = running.filter(({ queue }) => queue === 'critical').length
        expect(running.length - urgent).toBe(Math.min(8, others))
        expect(urgent).toBe(Math.min(critical, 10 - Math.min(8, others)))
      }),
    )
  })
})
