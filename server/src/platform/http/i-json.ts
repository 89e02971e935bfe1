import type { ProblemDetail } from '../../problems.ts'
import { pointerPart } from '../json-pointer.ts'

const MAX_DETAILS = 50

/** Postgres text cannot hold U+0000, UTF-8 cannot hold half a surrogate pair: it would come back as something else. */
const isKeepable = (text: string): boolean => !text.includes('\0') && text.isWellFormed()

const TEXT_FAULT = 'holds U+0000 or half a surrogate pair, which cannot be kept'
const KEY_FAULT = 'has a field whose name holds U+0000 or half a surrogate pair'
const UNKEPT = 'cannot be kept exactly; send it as a text'

/** Stands where a number was that JavaScript has rounded. */
const ROUNDED = Symbol('rounded')

/** An integer beyond 2^53 is rounded, a number beyond 10^308 becomes Infinity and then null: neither is what was sent. */
function isRounded(source: string): boolean {
  const number = Number(source)
  return !Number.isFinite(number) || (/^-?\d+$/.test(source) && !Number.isSafeInteger(number))
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const MINUS = 0x2d
const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39
const NUMBER = /[-+.\deE]*/y

/** Whether a valid JSON text has such a number. One pass, however long the text is. */
export function hasNumber(text: string, such: (source: string) => boolean): boolean {
  let inString = false
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (inString) {
      if (code === BACKSLASH) at += 1
      else if (code === QUOTE) inString = false
    } else if (code === QUOTE) inString = true
    else if (isDigit(code) || code === MINUS) {
      NUMBER.lastIndex = at
      const [source = ''] = NUMBER.exec(text) ?? []
      if (such(source)) return true
      at += source.length - 1
    }
  }
  return false
}

/** Longer texts are not parsed a second time to find the place: everybody else would wait for it. */
const MAX_SEARCHED = 100_000

const markRounded = (_key: string, value: unknown, context?: { readonly source?: string }): unknown =>
  typeof value === 'number' && isRounded(context?.source ?? '') ? ROUNDED : value

function collect(value: unknown, path: string, faults: ProblemDetail[]): void {
  if (faults.length === MAX_DETAILS) return
  if (value === ROUNDED) faults.push({ path, message: `is a number that ${UNKEPT}` })
  if (typeof value === 'string' && !isKeepable(value)) faults.push({ path, message: TEXT_FAULT })
  if (typeof value !== 'object' || value === null) return
  for (const [key, member] of Object.entries(value))
    if (isKeepable(key)) collect(member, `${path}/${pointerPart(key)}`, faults)
    else faults.push({ path, message: KEY_FAULT })
}

/**
 * What a JSON text holds beyond I-JSON (RFC 7493 §2.1, §2.2), each with its place below `path`: texts that cannot
 * be stored and numbers that parsing has rounded. `value` is the parsed text. Ordinary texts are searched once and
 * not walked; in very long ones a rounded number is told without its place.
 */
export function iJsonFaults(text: string, value: unknown, path: string): ProblemDetail[] {
  const rounds = /\d{16}|\d[eE]\+?\d{3}/.test(text) && hasNumber(text, isRounded)
  if (rounds && text.length > MAX_SEARCHED) return [{ path, message: `holds a number that ${UNKEPT}` }]
  if (!rounds && !text.includes('\\u')) return []
  const faults: ProblemDetail[] = []
  collect(rounds ? JSON.parse(text, markRounded) : value, path, faults)
  return faults
}
