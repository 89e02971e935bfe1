import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createLatencies } from './latency.ts'

test('says nothing before it has seen enough', () => {
  const latency = createLatencies().of('acme', 'stripe/charge')
  for (let count = 0; count < 19; count += 1) latency.observe(50)
  expect(latency.p95()).toBeUndefined()
  latency.observe(50)
  expect(latency.p95()).toBeGreaterThanOrEqual(50)
})

test('is never below the true 95th of 100, and at most a step above it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 1, max: 60_000, noNaN: true }), { minLength: 20, maxLength: 400 }),
      (times) => {
        const latency = createLatencies().of('acme', 'x')
        for (const ms of times) latency.observe(ms)
        const sorted = times.toSorted((a, b) => a - b)
        const exact = sorted[sorted.length - 1 - Math.floor(sorted.length * 0.05)] ?? Number.NaN
        const estimate = latency.p95() ?? Number.NaN
        expect(estimate).toBeGreaterThanOrEqual(exact * 0.999)
        expect(estimate).toBeLessThanOrEqual(exact * 1.2)
      },
    ),
  )
})

test('follows an upstream that has become slow', () => {
  const latency = createLatencies().of('acme', 'x')
  for (let count = 0; count < 10_000; count += 1) latency.observe(10)
  for (let count = 0; count < 200; count += 1) latency.observe(500)
  expect(latency.p95()).toBeGreaterThanOrEqual(500)
})

test('is kept for a bounded number of operations', () => {
  const latencies = createLatencies({ atMost: 5 })
  for (let count = 0; count < 50; count += 1) latencies.of('acme', `operation-${count}`)
  expect(latencies.size).toBeLessThanOrEqual(6)
})
