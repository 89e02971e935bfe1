import fc from 'fast-check'
import { expect, test } from 'vitest'
import { breakerWindow, SLICES } from './breaker-window.ts'

test('counts exactly the calls of the last ten slices, whatever the rests between them', () => {
  const call = fc.record({
    afterMs: fc.constantFrom(0, 1, 9, 10, 50, 89, 90, 99, 100, 101, 250),
    failed: fc.boolean(),
    slow: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(call, { maxLength: 60 }), (calls) => {
      const window = breakerWindow()
      const seen: { slice: number; failed: boolean; slow: boolean }[] = []
      let now = 0
      for (const { afterMs, failed, slow } of calls) {
        now += afterMs
        const slice = Math.floor(now / 10)
        seen.push({ slice, failed, slow })
        const recent = seen.filter((one) => slice - one.slice < SLICES)
        expect(window.add(now, 100, { failed, slow })).toEqual({
          calls: recent.length,
          failed: recent.filter((one) => one.failed).length,
          slow: recent.filter((one) => one.slow).length,
        })
      }
    }),
  )
})

test('another length begins a new window: the slices of the old one mean other times', () => {
  const window = breakerWindow()
  const call = { failed: true, slow: false }
  window.add(1_000, 100, call)
  expect(window.add(1_000, 200, call)).toEqual({ calls: 1, failed: 1, slow: 0 })
})
