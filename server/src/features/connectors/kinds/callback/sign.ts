import { createHash, createHmac, createSecretKey, type KeyObject } from 'node:crypto'
import type { Secret } from '../../../../platform/secret.ts'
import { Problem } from '../../../../problems.ts'

const PREFIX = 'whsec_'
/** Key lengths of the specification. */
const MIN_KEY_BYTES = 24
const MAX_KEY_BYTES = 64
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/

/**
 * The headers that sign a body by Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`, one signature
 * per secret and per value of it that is in force, so that the receiver may already or still know only one of them.
 * `now` is in epoch ms; the timestamp is new on every attempt, the id is not. Errors: `secret_unresolved` for a secret of another form.
 */
export function signatureHeaders(of: {
  readonly id: string
  readonly body: string
  readonly now: number
  readonly secrets: Readonly<Record<string, Secret>>
}): Record<string, string> {
  const timestamp = Math.floor(of.now / 1_000)
  const signed = `${of.id}.${timestamp}.${of.body}`
  const signatures = Object.entries(of.secrets)
    .flatMap(([name, secret]) => keysOf(name, secret))
    .map((key) => `v1,${createHmac('sha256', key).update(signed).digest('base64')}`)
  return {
    'webhook-id': of.id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signatures.join(' '),
  }
}

/**
 * The message id for an idempotency key: the key itself where the specification allows it. It forbids dots,
 * because the id is separated by one from what follows; other keys are hashed, which is as stable.
 */
export const messageId = (idempotencyKey: string): string =>
  /^[A-Za-z0-9_-]{1,255}$/.test(idempotencyKey)
    ? idempotencyKey
    : `msg_${createHash('sha256').update(idempotencyKey).digest('base64url')}`

/** An older value of another form was perhaps replaced for that: it must not keep the newest from signing. */
function keysOf(name: string, secret: Secret): KeyObject[] {
  const [newest, ...older] = secret.inForce().map(keyOf)
  if (newest) return [newest, ...older.filter((key) => key !== undefined)]
  throw new Problem(
    'secret_unresolved',
    `The value of the secret ${name} must be ${PREFIX} followed by base64 of ${MIN_KEY_BYTES} to ${MAX_KEY_BYTES} bytes.`,
  )
}

/** Made once for each value, because a key costs three times what signing with it does; gone with the value. */
const KEYS = new WeakMap<Secret, { readonly key: KeyObject | undefined }>()

function keyOf(secret: Secret): KeyObject | undefined {
  const made = KEYS.get(secret) ?? { key: makeKey(secret) }
  KEYS.set(secret, made)
  return made.key
}

function makeKey(secret: Secret): KeyObject | undefined {
  const value = secret.reveal()
  const encoded = value.startsWith(PREFIX) ? value.slice(PREFIX.length) : ''
  const key = BASE64.test(encoded) ? Buffer.from(encoded, 'base64') : Buffer.alloc(0)
  return key.length >= MIN_KEY_BYTES && key.length <= MAX_KEY_BYTES ? createSecretKey(key) : undefined
}
