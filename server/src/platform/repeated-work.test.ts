import { expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import { repeatedWork } from './repeated-work.ts'

test('a round follows each rest, also after one that failed, and none follows the stop', async () => {
  const clock = manualClock(0)
  const told: string[] = []
  let rounds = 0
  const repeated = repeatedWork({
    clock,
    everyMs: 1_000,
    work: async () => {
      rounds += 1
      if (rounds === 2) throw new Error('the second')
    },
    failed: (error) => told.push((error as Error).message),
  })
  repeated.start()
  repeated.start()
  await clock.advance(0)
  expect(rounds).toBe(1)
  await clock.advance(999)
  expect(rounds).toBe(1)
  await clock.advance(1)
  await clock.advance(1_000)
  expect([rounds, told]).toEqual([3, ['the second']])
  await repeated.stop()
  await clock.advance(5_000)
  expect(rounds).toBe(3)
})

test('a stop waits for the round that runs and tells it', async () => {
  const ending = Promise.withResolvers<void>()
  let told = false
  const repeated = repeatedWork({
    clock: manualClock(0),
    everyMs: 1_000,
    work: (stopping) => {
      stopping.addEventListener('abort', () => {
        told = true
      })
      return ending.promise
    },
    failed: () => undefined,
  })
  repeated.start()
  let stopped = false
  const stop = repeated.stop().then(() => {
    stopped = true
  })
  await Promise.resolve()
  expect([told, stopped]).toEqual([true, false])
  ending.resolve()
  await stop
})

test('what was never started stops at once', async () => {
  const never = async () => expect.unreachable()
  await repeatedWork({ clock: manualClock(0), everyMs: 1, work: never, failed: never }).stop()
})
