import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { base32, otpauthUrl, stepOfCode, totpAt } from './totp.ts'

/** RFC 6238, appendix B: ASCII secret, SHA-1, 8 digits. */
const SECRET = Buffer.from('12345678901234567890')
test.each([
  [59, '94287082'],
  [1_111_111_109, '07081804'],
  [1_111_111_111, '14050471'],
  [1_234_567_890, '89005924'],
  [2_000_000_000, '69279037'],
  [20_000_000_000, '65353130'],
])('the vector of the RFC at %d s', (seconds, code) => {
  expect(totpAt(SECRET, seconds * 1_000, 8)).toBe(code)
  expect(totpAt(SECRET, seconds * 1_000)).toBe(code.slice(2))
})

const AT = 1_800_000_000_000
const accepted = (shiftMs: number, afterStep = 0) =>
  stepOfCode(SECRET, totpAt(SECRET, AT + shiftMs), { at: AT, afterStep })

test('one step before and one after are taken, two are not', () => {
  expect(accepted(0)).toBe(60_000_000)
  expect(accepted(-30_000)).toBe(59_999_999)
  expect(accepted(30_000)).toBe(60_000_001)
  for (const shift of [-90_000, -60_000, 60_000, 90_000]) expect(accepted(shift)).toBeUndefined()
})

test('a step that was accepted, and every earlier one, is not taken again', () => {
  expect(accepted(0, 60_000_000)).toBeUndefined()
  expect(accepted(-30_000, 60_000_000)).toBeUndefined()
  expect(accepted(30_000, 60_000_000)).toBe(60_000_001)
})

test.each(['', '12345', '1234567', '12345a', '１２３４５６', ' 12345'])('%j is no code', (code) => {
  expect(stepOfCode(SECRET, code, { at: AT, afterStep: 0 })).toBeUndefined()
})

test('base32 is that of RFC 4648 §10', () => {
  for (const [text, encoded] of [
    ['f', 'MY'],
    ['fo', 'MZXQ'],
    ['foo', 'MZXW6'],
    ['foob', 'MZXW6YQ'],
    ['fooba', 'MZXW6YTB'],
    ['foobar', 'MZXW6YTBOI'],
  ] as const)
    expect(base32(Buffer.from(text))).toBe(encoded)
})

test('codes of other secrets and times do not fit', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 20, maxLength: 20 }),
      fc.integer({ min: 0, max: 4e12 }),
      (key, at) => {
        // The mathematics of RFC 4226 §5.3 written a second time, by shifting.
        const counter = Buffer.from(
          Math.floor(at / 30_000)
            .toString(16)
            .padStart(16, '0'),
          'hex',
        )
        const mac = createHmac('sha1', key).update(counter).digest()
        const from = (mac.at(-1) ?? 0) % 16
        const value = [...mac.subarray(from, from + 4)].reduce((sum, byte) => sum * 256 + byte, 0) % 2 ** 31
        expect(totpAt(key, at)).toBe(String(value % 1_000_000).padStart(6, '0'))
      },
    ),
    { numRuns: 200 },
  )
})

test('the URL for the app names issuer and account, and says how codes are made', () => {
  const url = new URL(otpauthUrl(SECRET, { issuer: 'The Hub', account: 'a+b@example.com' }))
  expect(url.protocol + url.host).toBe('otpauth:totp')
  expect(decodeURIComponent(url.pathname)).toBe('/The Hub:a+b@example.com')
  expect(Object.fromEntries(url.searchParams)).toEqual({
    secret: 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ',
    issuer: 'The Hub',
    algorithm: 'SHA1',
    digits: '6',
    period: '30',
  })
  expect(url.search).not.toContain('+')
})
