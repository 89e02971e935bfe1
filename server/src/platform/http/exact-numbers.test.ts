import fc from 'fast-check'
import { expect, it } from 'vitest'
import { changesNumbers } from './exact-numbers.ts'
import { parseExactJson } from './json-body.ts'

const printed = (text: string): string => JSON.stringify(parseExactJson(Buffer.from(text)))

it.each([
  '{"n":12345678901234567890,"m":[-9007199254740993,{"x":1e400}]}',
  '[0.12345678901234567891]',
  '[1e-400]',
  '[123456789.12345678901]',
  '[-1E+999]',
  '12345678901234567890',
])('%s is printed as it was sent', (text) => {
  expect(printed(text)).toBe(text)
})

it.each([
  '[1.0]',
  '[1e3]',
  '[0.1]',
  '[-0]',
  '[9007199254740992]',
  '[100000000000000000000]',
  '["12345678901234567890"]',
  '["1e999"]',
])('%s has no number that must be kept as it is written', (text) => {
  expect(changesNumbers(text)).toBe(false)
  expect(parseExactJson(Buffer.from(text))).toEqual(JSON.parse(text))
})

it('a very long number is printed as it was sent, and looked at once', () => {
  const long = `[1${'0'.repeat(1_000_000)}1]`
  expect(printed(long)).toBe(long)
})

it('of members with the same name the last one is there', () => {
  expect(printed('{"n":12345678901234567890,"a":1,"a":2}')).toBe('{"n":12345678901234567890,"a":2}')
})

it('every number is printed as the same number, however long it is', () => {
  const digits = fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: 30 })
  const number = fc
    .tuple(
      fc.boolean(),
      fc.bigInt({ min: 0n, max: 10n ** 25n }),
      fc.option(digits),
      fc.option(fc.integer({ min: -40, max: 40 })),
    )
    .map(
      ([minus, whole, fraction, e]) =>
        `${minus ? '-' : ''}${whole}${fraction === null ? '' : `.${fraction}`}${e === null ? '' : `e${e}`}`,
    )
  /** As a fraction of whole numbers, which are exact. */
  const exact = (text: string): bigint => {
    const [, sign = '', whole = '', fraction = '', e = '0'] =
      /^(-?)(\d+)(?:\.(\d+))?(?:e([-+]?\d+))?$/.exec(text) ?? expect.unreachable(text)
    return BigInt(`${sign}${whole}${fraction}`) * 10n ** BigInt(200 + Number(e) - fraction.length)
  }
  fc.assert(
    fc.property(number, (text) => {
      expect(exact(printed(text))).toBe(exact(text))
    }),
    { numRuns: 500 },
  )
})
