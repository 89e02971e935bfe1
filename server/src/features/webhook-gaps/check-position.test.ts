import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { firstPosition, positionAfter } from './check-position.ts'

const START = Date.UTC(2026, 10, 1)
const MAX_PAGES = 1_000
const first = firstPosition(new Date(START))
const minutesBefore = (minutes: number) => new Date(START - minutes * 60_000)

describe('where a check goes on', () => {
  it('comes to an end in any circle of pages, in any order of times', () => {
    const page = fc.record({ minutes: fc.nat(90), next: fc.option(fc.nat(7)) })
    fc.assert(
      fc.property(fc.array(page, { minLength: 8, maxLength: 8 }), (pages) => {
        let position = first
        let at: number | null = 0
        let read = 0
        try {
          while (at !== null) {
            const { minutes, next }: { minutes: number; next: number | null } = pages[at] ?? {
              minutes: 0,
              next: null,
            }
            read += 1
            const listed = {
              oldest: minutesBefore(minutes),
              next: next === null ? undefined : `page-${next}`,
            }
            position = positionAfter(position, listed, MAX_PAGES)
            at = next
          }
        } catch (error) {
          expect(String(error)).toMatch(/cannot be read/)
        }
        expect(read).toBeLessThanOrEqual(2 * pages.length + 1)
      }),
    )
  })

  it('follows every list that goes back in time, with equal times and late ones', () => {
    const steps = fc.array(fc.record({ back: fc.nat(3), late: fc.nat(59) }), { maxLength: 40 })
    fc.assert(
      fc.property(steps, (pages) => {
        let position = first
        let minutes = 100
        for (const [at, { back, late }] of pages.entries()) {
          minutes += back
          const listed = { oldest: minutesBefore(minutes - late), next: `page-${at}` }
          position = positionAfter(position, listed, MAX_PAGES)
        }
        expect(position).toMatchObject({ until: first.until, pages: pages.length })
      }),
    )
  })

  it('refuses pages that go forward, or are empty and not the last', () => {
    const position = positionAfter(first, { oldest: minutesBefore(300), next: 'a' }, MAX_PAGES)
    expect(() => positionAfter(position, { oldest: minutesBefore(200), next: 'b' }, MAX_PAGES)).toThrow(
      /younger/,
    )
    expect(() => positionAfter(position, { oldest: undefined, next: 'b' }, MAX_PAGES)).toThrow(
      /without events/,
    )
    expect(positionAfter(position, { oldest: undefined, next: undefined }, MAX_PAGES)).toMatchObject({
      pages: 2,
    })
  })
})
