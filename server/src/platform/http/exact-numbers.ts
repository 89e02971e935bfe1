import { hasNumber } from './i-json.ts'

/** TypeScript does not know it yet (ECMAScript 2026). */
const { rawJSON } = JSON as typeof JSON & { readonly rawJSON: (text: string) => object }

const PARTS = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/

/** Where the zeros at the end begin. Not by a pattern, which would look at every run of zeros again and again. */
function endOf(digits: string): number {
  let end = digits.length
  while (digits[end - 1] === '0') end -= 1
  return end
}

/** A number as its digits without zeros around them and the place of its point: equal for equal numbers. */
function normalForm(source: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = PARTS.exec(source) ?? []
  const digits = `${whole}${fraction}`.replace(/^0+/, '')
  const short = digits.slice(0, endOf(digits))
  return short === ''
    ? '0'
    : `${sign}${short}e${Number(exponent) - fraction.length + digits.length - short.length}`
}

/** True when JavaScript would print the number as another one: more digits than a double has, or beyond its range. */
const isChanged = (source: string): boolean => normalForm(source) !== normalForm(String(Number(source)))

/** Fewer digits and smaller exponents are always printed as the same number; texts may have these too. */
const MAY_CHANGE = /[\d.]{16}|[eE][-+]?\d{3}/

/** Whether a valid JSON text has a number that parsing and printing would change. */
export const changesNumbers = (text: string): boolean => MAY_CHANGE.test(text) && hasNumber(text, isChanged)

/** For `JSON.parse`: keeps such numbers as they are written. */
export const exactly = (_key: string, value: unknown, context?: { readonly source?: string }): unknown =>
  typeof value === 'number' && context?.source !== undefined && isChanged(context.source)
    ? rawJSON(context.source)
    : value
