import { timingSafeEqual } from 'node:crypto'
import type { Secret } from '../../../platform/secret.ts'
import { type HeaderValues, notAnEvent, type Verdict, type VerifyFailure } from '../provider.ts'

/** Longer ones are an attempt to make us work: the longest that is sent has a signature for each of a few secrets. */
const MAX_LENGTH = 4_096

export const refused = (cause: VerifyFailure): Verdict => ({ verified: false, cause })

/** A header that a signature needs; or why it cannot be used. Sent twice, proxies disagree on which one counts: neither does. */
export function signedHeader(
  headers: HeaderValues,
  name: string,
): { readonly value: string } | { readonly cause: VerifyFailure } {
  const [value, ...more] = headers[name] ?? []
  if (value === undefined || value === '') return { cause: 'signature_missing' }
  return more.length > 0 || value.length > MAX_LENGTH ? { cause: 'signature_malformed' } : { value }
}

/** A header that tells something of the event; undefined when it is not there. Errors: `validation_error` when it is there twice. */
export function tellingHeader(headers: HeaderValues, name: string): string | undefined {
  const [value, ...more] = headers[name] ?? []
  if (more.length > 0) throw notAnEvent({ path: `/headers/${name}`, message: 'must be there once' })
  return value === '' ? undefined : value
}

/** The same for one that must be there. Errors: `validation_error` too when it is not. */
export function requiredHeader(headers: HeaderValues, name: string): string {
  const value = tellingHeader(headers, name)
  if (value === undefined) throw notAnEvent({ path: `/headers/${name}`, message: 'is required' })
  return value
}

/** Compares encoded signatures in constant time. As text, because base64 can write the same bytes in several ways. */
export function sameSignature(given: string, expected: string): boolean {
  const [left, right] = [Buffer.from(given), Buffer.from(expected)]
  return left.length === right.length && timingSafeEqual(left, right)
}

/** The first secret that fits. */
export function verdictOf(secrets: readonly Secret[], fits: (secret: Secret) => boolean): Verdict {
  const secret = secrets.find(fits)
  return secret ? { verified: true, secret } : refused('signature_mismatch')
}

const SECONDS = /^\d{1,11}$/

/** Unix seconds as milliseconds; undefined for what is no such number. */
export const secondsToMs = (text: string): number | undefined =>
  SECONDS.test(text) ? Number(text) * 1_000 : undefined
