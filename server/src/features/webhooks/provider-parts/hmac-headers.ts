import type { HeaderValues, VerifyFailure } from '../provider.ts'
import type { HeaderPart, HmacSettings } from './hmac-settings.ts'
import { secondsToMs, signedHeader } from './request-headers.ts'

const MILLISECONDS = /^\d{1,14}$/
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/
type Unit = NonNullable<HmacSettings['timestamp']>['unit']

/** Undefined for what is no time in this unit. */
export function msOf(text: string, unit: Unit): number | undefined {
  if (unit === 'seconds') return secondsToMs(text)
  if (unit === 'milliseconds') return MILLISECONDS.test(text) ? Number(text) : undefined
  const ms = ISO.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(ms) ? undefined : ms
}

/** The values of one prefix in a header, without it. */
export function partsOf(headers: HeaderValues, { header, separator, prefix = '' }: HeaderPart) {
  const whole = signedHeader(headers, header)
  if ('cause' in whole) return whole
  const parts =
    separator === undefined ? [whole.value] : whole.value.split(separator).map((part) => part.trim())
  return { values: parts.filter((part) => part.startsWith(prefix)).map((part) => part.slice(prefix.length)) }
}

interface SignedTime {
  readonly text: string
  readonly ms: number
}

/** The signed time; undefined when the sender signs none. */
export function timeOf(
  headers: HeaderValues,
  settings: HmacSettings,
): SignedTime | undefined | { readonly cause: VerifyFailure } {
  if (!settings.timestamp) return undefined
  const parts = partsOf(headers, settings.timestamp)
  if ('cause' in parts) return parts
  const [text, ...more] = parts.values
  const ms = text === undefined || more.length > 0 ? undefined : msOf(text, settings.timestamp.unit)
  return text === undefined || ms === undefined ? { cause: 'signature_malformed' } : { text, ms }
}
