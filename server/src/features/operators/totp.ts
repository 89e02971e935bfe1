/** Time-based one-time passwords (RFC 6238) as authenticator apps make them: SHA-1, 6 digits, steps of 30 s. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

const STEP_SECONDS = 30
const DIGITS = 6
/** RFC 4226 §4 R6 asks for 160 bits. */
const SECRET_BYTES = 20
/** Clocks of phones differ, and people type slowly: one step before and one after (RFC 6238 §5.2). */
const WINDOW = [-1, 0, 1] as const

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

export const newTotpSecret = (): Buffer => randomBytes(SECRET_BYTES)

/** RFC 4648 §6 without padding: how apps take the secret. */
export function base32(bytes: Uint8Array): string {
  let bits = ''
  for (const byte of bytes) bits += byte.toString(2).padStart(8, '0')
  return (bits.match(/.{1,5}/g) ?? [])
    .map((five) => BASE32.charAt(Number.parseInt(five.padEnd(5, '0'), 2)))
    .join('')
}

/** HOTP (RFC 4226 §5.3) of the moment's step. `at` is in ms. Tests ask for the 8 digits of the RFC's vectors. */
export function totpAt(secret: Uint8Array, at: number, digits = DIGITS): string {
  return hotp(secret, stepAt(at), digits)
}

const stepAt = (at: number): number => Math.floor(at / 1_000 / STEP_SECONDS)

function hotp(secret: Uint8Array, step: number, digits: number): string {
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(step))
  const mac = createHmac('sha1', secret).update(counter).digest()
  const offset = (mac[19] ?? 0) & 0xf
  const value = mac.readUInt32BE(offset) & 0x7fff_ffff
  return String(value % 10 ** digits).padStart(digits, '0')
}

/**
 * The step whose code this is, near `at` (ms) and later than `afterStep`; undefined for any other code. All steps
 * are compared, so that the time taken does not tell which was near.
 */
export function stepOfCode(
  secret: Uint8Array,
  code: string,
  { at, afterStep }: { readonly at: number; readonly afterStep: number },
): number | undefined {
  if (!/^[0-9]{6}$/.test(code)) return undefined
  const given = Buffer.from(code)
  let found: number | undefined
  for (const shift of WINDOW) {
    const step = stepAt(at) + shift
    if (step < 0) continue
    const same = timingSafeEqual(Buffer.from(hotp(secret, step, DIGITS)), given)
    if (same && step > afterStep) found = step
  }
  return found
}

/** What an app reads from the QR code (Key URI format). */
export function otpauthUrl(
  secret: Uint8Array,
  { issuer, account }: { issuer: string; account: string },
): string {
  const label = `${encodeURIComponent(issuer)}:${encodeURIComponent(account)}`
  const query = new URLSearchParams({
    secret: base32(secret),
    issuer,
    algorithm: 'SHA1',
    digits: String(DIGITS),
    period: String(STEP_SECONDS),
  })
  return `otpauth://totp/${label}?${query.toString().replaceAll('+', '%20')}`
}
