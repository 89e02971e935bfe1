import { expect, test } from 'vitest'
import { keyedStates } from './keyed-states.ts'

const setUp = (atMost?: number) => {
  const states = keyedStates<{ busy: boolean }>({
    create: () => ({ busy: false }),
    idle: ({ busy }) => !busy,
    ...(atMost !== undefined && { atMost }),
  })
  return states
}

test('gives the same state for the same key, and another one for each other key and group', () => {
  const states = setUp()
  const state = states.of('g', 'k')
  expect(states.of('g', 'k')).toBe(state)
  expect(states.find('g', 'k')).toBe(state)
  expect(states.of('g', 'other')).not.toBe(state)
  expect(states.of('other', 'k')).not.toBe(state)
  expect(states.find('nobody', 'k')).toBeUndefined()
})

test('keeps every busy state and drops the idle ones, wherever they stand', () => {
  const states = setUp()
  const busy = Array.from({ length: 100 }, (_, index) => {
    for (let idle = 0; idle < 9; idle += 1) states.of(`g${index % 7}`, `idle ${index} ${idle}`)
    const state = states.of(`g${index % 7}`, `busy ${index}`)
    state.busy = true
    states.tidy()
    return state
  })
  for (let more = 0; more < 200; more += 1) {
    states.of('g', `${more}`)
    states.tidy()
  }
  expect(busy.map((_, index) => states.find(`g${index % 7}`, `busy ${index}`))).toEqual(busy)
  expect(states.size).toBeLessThan(160)
})

test('drops nothing between two calls of tidy: what an operation has in hand stays', () => {
  const states = setUp(2)
  const held = Array.from({ length: 10 }, (_, index) => states.of('g', `${index}`))
  expect(held.map((_, index) => states.find('g', `${index}`))).toEqual(held)
  states.tidy()
  expect(states.size).toBe(0)
})

test('drops busy ones only beyond its greatest size', () => {
  const states = setUp(10)
  for (let key = 0; key < 50; key += 1) {
    states.of('g', `${key}`).busy = true
    states.tidy()
  }
  expect(states.size).toBe(10)
})
