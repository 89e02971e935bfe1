import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { inspect } from 'node:util'

/**
 * A secret value that cannot be printed by accident: string conversion, JSON, template strings and
 * `console.log` all give `[secret]`. `reveal` is the only way to the value and easy to search for.
 */
export class Secret {
  readonly #value: string
  readonly #accepted: readonly Secret[]

  /** `accepted`: older values that still hold beside it, during a rotation. */
  constructor(value: string, accepted: readonly Secret[] = []) {
    this.#value = value
    this.#accepted = accepted
  }

  /** This value and the older ones that are still accepted, newest first: for making and checking signatures. */
  inForce(): readonly Secret[] {
    return [this, ...this.#accepted]
  }

  reveal(): string {
    return this.#value
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [inspect.custom](): string {
    return '[secret]'
  }
}

/** Compares in constant time, also for different lengths: both sides are hashed to 32 bytes first. */
export function equalInConstantTime(left: string | Buffer, right: string | Buffer): boolean {
  const digest = (value: string | Buffer) => createHash('sha256').update(value).digest()
  return timingSafeEqual(digest(left), digest(right))
}

/** Tells values of a secret apart without telling them: 12 hex digits of an HMAC whose key is the value. */
export const secretFingerprint = (secret: Secret): string =>
  createHmac('sha256', secret.reveal()).update('orchestrator: which secret').digest('hex').slice(0, 12)
