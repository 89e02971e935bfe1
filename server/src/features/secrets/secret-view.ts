import type { Clock } from '../../platform/clock.ts'
import type { SecretRef } from './secret-ref.ts'
import type { SecretRefView } from './secrets.schema.ts'

/** The clocks of the database and of this process may differ a little. */
export const ageOf = ({ rotatedAt }: SecretRef, clock: Pick<Clock, 'now'>): number =>
  Math.max(0, Math.floor((clock.now() - rotatedAt.getTime()) / 1_000))

export const viewOf =
  (clock: Pick<Clock, 'now'>) =>
  (secret: SecretRef): SecretRefView => ({
    name: secret.name,
    ref: secret.ref,
    version: secret.version,
    last_four: secret.lastFour,
    age_seconds: ageOf(secret, clock),
    previous: secret.previous
      ? { ref: secret.previous.ref, accepted_until: secret.previous.until.toISOString() }
      : null,
    last_used_at: secret.lastUsedAt?.toISOString() ?? null,
    created_at: secret.createdAt.toISOString(),
    updated_at: secret.updatedAt.toISOString(),
  })
