import { Type } from 'typebox'

const whole = (minimum: number, maximum: number, fallback: number, description: string) =>
  Type.Integer({ minimum, maximum, default: fallback, description })

/** Settings of the quarantine of webhooks. */
export const QUARANTINE_SETTINGS = {
  QUARANTINE_MAX_BYTES: whole(
    1_048_576,
    1_099_511_627_776,
    268_435_456,
    'Room of the quarantine of the whole hub. A quarter of it is for webhooks that a secret of some route has verified; one workspace gets a quarter at most.',
  ),
  QUARANTINE_MAX_ROWS: whole(
    100,
    10_000_000,
    100_000,
    'Refused webhooks that the quarantine holds at most, shared out as its bytes are.',
  ),
  QUARANTINE_BODY_LIMIT_BYTES: Type.Optional(
    Type.Integer({
      minimum: 1_024,
      maximum: 26_214_400,
      description:
        'Largest body that is kept in quarantine; a larger one is only counted. Absent: WEBHOOK_BODY_LIMIT_BYTES.',
    }),
  ),
  QUARANTINE_PER_SECOND: whole(
    1,
    1_000,
    20,
    'Refused webhooks of one provider and reason that one ingress process keeps per second; five times as many at once after a rest, and three times as many over all of them.',
  ),
}
