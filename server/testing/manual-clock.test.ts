import { expect, test } from 'vitest'
import { manualClock } from './manual-clock.ts'

test('sleepers wake in the order of their times and see their own time', async () => {
  const clock = manualClock(1_000)
  const woken: [string, number][] = []
  const sleepAs = async (name: string, ms: number) => {
    await clock.sleep(ms)
    woken.push([name, clock.now()])
  }
  const all = [sleepAs('late', 30), sleepAs('early', 10), sleepAs('never', 31)]
  await clock.advance(30)
  expect(woken).toEqual([
    ['early', 1_010],
    ['late', 1_030],
  ])
  expect(clock.sleeping).toBe(1)
  await clock.advance(1)
  await Promise.all(all)
})

test('a loop that sleeps again is woken again within one advance', async () => {
  const clock = manualClock()
  let turns = 0
  const loop = (async () => {
    while (turns < 10) {
      await clock.sleep(10)
      turns += 1
    }
  })()
  await clock.advance(95)
  expect(turns).toBe(9)
  expect(clock.monotonic()).toBe(95)
  await clock.advance(5)
  await loop
})

test('an aborted sleep rejects with the reason of its signal, also when aborted before', async () => {
  const clock = manualClock()
  const controller = new AbortController()
  const sleep = clock.sleep(10, controller.signal)
  controller.abort(new Error('enough'))
  await expect(sleep).rejects.toThrow('enough')
  await expect(clock.sleep(10, controller.signal)).rejects.toThrow('enough')
  expect(clock.sleeping).toBe(0)
})

test('whenSleeping waits for sleeps that have not begun', async () => {
  const clock = manualClock()
  const ready = clock.whenSleeping(2)
  const sleeps = [clock.sleep(5), clock.sleep(5)]
  await ready
  await clock.advance(5)
  await Promise.all(sleeps)
})

test('what is to run after a time runs once, at that time, unless it is taken back', async () => {
  const clock = manualClock()
  const ran: number[] = []
  clock.after(10, () => ran.push(clock.monotonic()))
  const takeBack = clock.after(20, () => ran.push(clock.monotonic()))
  await clock.advance(15)
  takeBack()
  await clock.advance(15)
  expect(ran).toEqual([10])
  expect(clock.sleeping).toBe(0)
})
