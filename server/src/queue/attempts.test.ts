import { expect, test } from 'vitest'
import { sampleClaimed } from '../../testing/claimed-job.ts'
import { manualClock } from '../../testing/manual-clock.ts'
import { createLog } from '../platform/log.ts'
import type { AttemptAborted } from './attempt-outcome.ts'
import { createAttempts } from './attempts.ts'
import type { ClaimedJob, Outcome } from './job.ts'

const DONE = { kind: 'done', result: null, why: 'Done.' } as const
const RETURNED = expect.objectContaining({ kind: 'returned' })

const claimOf = (
  job: Partial<ClaimedJob> & { readonly leaseId: number },
  expiresInMs: number | null = null,
) => ({
  ...{ job: sampleClaimed(job), waitedMs: 30, expiresInMs },
})

/** Two places, one of them for critical; an attempt ends when the test says so. */
function attemptsOfTwo() {
  const clock = manualClock()
  const delays: number[] = []
  const told: [leaseId: number, what: unknown][] = []
  const endings = new Map<number, (outcome: Outcome) => void>()
  const attempts = createAttempts({
    concurrency: 2,
    maxRunMs: 1_000,
    ...{ clock, random: () => 0.5, log: createLog('tests', 'silent') },
    handler: ({ leaseId }, signal) =>
      new Promise((resolve, reject) => {
        endings.set(leaseId, resolve)
        signal.addEventListener('abort', () => reject(signal.reason as AttemptAborted))
      }),
    started: ({ leaseId }, delayMs) => {
      told.push([leaseId, 'started'])
      delays.push(delayMs)
    },
    ended: ({ job, outcome }) => told.push([job.leaseId, outcome]),
    notStarted: ({ job, outcome }) => told.push([job.leaseId, outcome]),
  })
  return {
    ...{ clock, told, delays, attempts },
    start: (...leaseIds: number[]) => {
      for (const leaseId of leaseIds) attempts.start(claimOf({ leaseId }))
    },
    end: async (leaseId: number) => {
      endings.get(leaseId)?.(DONE)
      await clock.advance(0)
    },
  }
}

test('what waits for a place starts when one is free', async () => {
  const { told, start, end } = attemptsOfTwo()
  start(1, 2)
  expect(told).toEqual([[1, 'started']])
  await end(1)
  expect(told.slice(1)).toEqual([
    [1, DONE],
    [2, 'started'],
  ])
})

test('the delay of a start runs until the start, not until the claim', async () => {
  const { clock, delays, start, end } = attemptsOfTwo()
  start(1, 2)
  await clock.advance(100)
  await end(1)
  expect(delays).toEqual([30, 130])
})

test('a job that expires while it waits for a place never starts, and the next one does', async () => {
  const { clock, told, attempts, start, end } = attemptsOfTwo()
  start(1)
  attempts.start(claimOf({ leaseId: 2 }, 100))
  start(3)
  await clock.advance(100)
  await end(1)
  expect(told.slice(2)).toEqual([
    [2, RETURNED],
    [3, 'started'],
  ])
})

test('a job that is cancelled while it waits for a place never starts', async () => {
  const { told, attempts, start, end } = attemptsOfTwo()
  start(1, 2)
  attempts.abort(2, 'cancelled')
  expect(told.at(-1)).toEqual([2, expect.objectContaining({ kind: 'cancelled' })])
  await end(1)
  expect(told.at(-1)).toEqual([1, DONE])
})

test('a node that lost its leases starts nothing of what it holds', async () => {
  const { clock, told, attempts, start } = attemptsOfTwo()
  start(1, 2, 3)
  attempts.abortAll('lease_lost')
  await clock.advance(0)
  expect(told.slice(1)).toEqual([
    [2, RETURNED],
    [3, RETURNED],
    [1, RETURNED],
  ])
})

test('what waits too long behind long attempts is given back, and nothing else', async () => {
  const { clock, told, attempts, start } = attemptsOfTwo()
  start(1, 2)
  await clock.advance(100)
  start(3)
  attempts.handBackWaiting(100, 'No place.')
  expect(told.slice(1)).toEqual([[2, { kind: 'returned', why: 'No place.' }]])
})

test('each attempt has its own deadline, though one sleeper watches them all', async () => {
  const { clock, told, attempts, start, end } = attemptsOfTwo()
  start(1)
  await clock.advance(400)
  attempts.start(claimOf({ leaseId: 2, queue: 'critical' }))
  expect(clock.sleeping).toBe(1)
  await clock.advance(599)
  expect(told).toHaveLength(2)
  await clock.advance(1)
  expect(told.at(-1)).toEqual([1, expect.objectContaining({ kind: 'retry' })])
  await clock.advance(399)
  expect(told).toHaveLength(3)
  await clock.advance(1)
  expect(told.at(-1)).toEqual([2, expect.objectContaining({ kind: 'retry' })])
  await end(2)
  expect(clock.sleeping).toBe(0)
})

test('an idle node sleeps for nobody, and a busy one again for the next', async () => {
  const { clock, told, start, end } = attemptsOfTwo()
  start(1)
  await end(1)
  expect(clock.sleeping).toBe(0)
  start(2)
  await clock.advance(1_000)
  expect(told.at(-1)).toEqual([2, expect.objectContaining({ kind: 'retry' })])
})
