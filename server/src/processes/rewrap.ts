/** Keeps everything that is sealed under the current key-encryption key, while the hub runs. Wiring only. */
import { rewrapSecondFactors } from '../features/operators/operators.ts'
import { rewrapStoredSecrets } from '../features/secrets/secrets.ts'
import type { Clock } from '../platform/clock.ts'
import type { Db } from '../platform/db/db.ts'
import type { Envelope } from '../platform/envelope.ts'
import type { Log } from '../platform/log.ts'
import { type RepeatedWork, repeatedWork } from '../platform/repeated-work.ts'

/** A new key-encryption key is in use at once; what the older ones wrap follows within this time. */
const EVERY_MS = 60_000

export interface RewrapResult {
  readonly rewrapped: number
  readonly broken: readonly string[]
  /** Still under another key; the broken ones are among them. */
  readonly left: number
}

/** Everything that the hub keeps sealed. Whatever is new joins here. Errors: `EnvelopeFailure`. */
export async function rewrapAll(db: Db, envelope: Envelope): Promise<RewrapResult> {
  const secrets = await rewrapStoredSecrets(db, envelope)
  const factors = await rewrapSecondFactors(db, envelope)
  return {
    rewrapped: secrets.rewrapped + factors.rewrapped,
    broken: [...secrets.broken, ...factors.broken],
    left: secrets.left + factors.left,
  }
}

export function createRewrapCare(on: {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly envelope: Envelope
}): RepeatedWork {
  let told: string | undefined

  /** The same trouble is told once, not every minute. */
  const tell = (trouble: string | undefined): void => {
    if (trouble !== undefined && trouble !== told)
      on.log.error({ reason: trouble }, 'not everything sealed could be rewrapped')
    told = trouble
  }
  return repeatedWork({
    clock: on.clock,
    everyMs: EVERY_MS,
    work: async () => {
      const { rewrapped, broken } = await rewrapAll(on.db, on.envelope)
      if (rewrapped > 0) on.log.info({ rewrapped }, 'wrapped under the current key-encryption key')
      tell(broken.length > 0 ? broken.join('; ') : undefined)
    },
    failed: (error) => tell(error instanceof Error ? error.message : String(error)),
  })
}
