/**
 * Verifies callbacks of the hub by Standard Webhooks 1.0 (https://www.standardwebhooks.com): the signature is an
 * HMAC-SHA256 over `id.timestamp.body`, over the bytes as they came. No dependencies.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'

/** Why a callback was not accepted. Answer 401 (400 for `missing_header`) and do nothing else. */
export type RefusalReason =
  | 'missing_header'
  | 'bad_timestamp'
  | 'too_old'
  | 'too_new'
  | 'no_match'
  | 'bad_secret'

export class CallbackRefused extends Error {
  override readonly name = 'CallbackRefused'
  readonly reason: RefusalReason

  constructor(reason: RefusalReason, message: string) {
    super(message)
    this.reason = reason
  }
}

export interface VerifiedCallback {
  /** `webhook-id`: the same on every attempt. Remember it, so that a second attempt has no second effect. */
  readonly id: string
  /** When this attempt was signed. */
  readonly timestamp: Date
}

export interface VerifyOptions {
  /** How far the timestamp may be from now, in both directions. Default 300. */
  readonly toleranceSeconds?: number
  /** Milliseconds since the epoch; for tests. */
  readonly now?: number
}

type Headers =
  | Readonly<Record<string, string | readonly string[] | undefined>>
  | { get(name: string): string | null }

const PREFIX = 'whsec_'
const DEFAULT_TOLERANCE_SECONDS = 300

/** Header names have no case (RFC 9110 §5.1); frameworks differ in what they make of them. */
function header(headers: Headers, name: string): string {
  const value =
    typeof headers.get === 'function'
      ? headers.get(name)
      : Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1]
  if (typeof value === 'string' && value !== '') return value
  throw new CallbackRefused('missing_header', `The header ${name} is missing or was sent more than once.`)
}

/** Checked strictly: Buffer.from would make some key of any text. */
function keyOf(secret: string): Buffer {
  const encoded = secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(encoded))
    throw new CallbackRefused('bad_secret', 'A signing secret is empty or not base64.')
  return Buffer.from(encoded, 'base64')
}

/**
 * Verifies one callback. `rawBody` must be the bytes as they came: parsed and serialised JSON is another text.
 * `secrets` are all that are valid now, two during a rotation. Throws `CallbackRefused`.
 */
export function verifyCallback(
  rawBody: Uint8Array | string,
  headers: Headers,
  secrets: readonly string[],
  options: VerifyOptions = {},
): VerifiedCallback {
  const tolerance = options.toleranceSeconds ?? DEFAULT_TOLERANCE_SECONDS
  // Infinity or NaN would accept every timestamp, and with it every replay.
  if (!(tolerance > 0 && Number.isFinite(tolerance)))
    throw new RangeError('toleranceSeconds must be a positive number')
  if (secrets.length === 0)
    throw new CallbackRefused('bad_secret', 'There is no signing secret to verify with.')
  const keys = secrets.map(keyOf)
  const id = header(headers, 'webhook-id')
  const sent = header(headers, 'webhook-timestamp')
  const signatures = header(headers, 'webhook-signature')
  if (!/^\d{1,12}$/.test(sent))
    throw new CallbackRefused('bad_timestamp', 'webhook-timestamp is not a number of seconds.')
  const ageSeconds = (options.now ?? Date.now()) / 1_000 - Number(sent)
  if (ageSeconds > tolerance)
    throw new CallbackRefused('too_old', 'The callback is older than the tolerance allows.')
  if (ageSeconds < -tolerance)
    throw new CallbackRefused('too_new', 'The callback comes from the future; check the clocks.')

  const expected = keys.map((key) =>
    createHmac('sha256', key).update(`${id}.${sent}.`).update(rawBody).digest(),
  )
  const given = signatures
    .split(' ')
    .filter((part) => part.startsWith('v1,'))
    .map((part) => Buffer.from(part.slice(3), 'base64'))
  // Every pair is compared, so that the time does not tell which secret or signature was near.
  let matches = 0
  for (const signature of given)
    for (const candidate of expected)
      if (signature.length === candidate.length && timingSafeEqual(signature, candidate)) matches += 1
  if (matches === 0)
    throw new CallbackRefused(
      'no_match',
      'No signature fits: wrong secret, or the body was parsed and serialised again.',
    )
  return { id, timestamp: new Date(Number(sent) * 1_000) }
}
