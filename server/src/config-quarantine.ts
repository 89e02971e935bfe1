import { Type } from 'typebox'

const whole = (minimum: number, maximum: number, fallback: number, description: string) =>
  Type.Integer({ minimum, maximum, default: fallback, description })

/** Settings of the quarantine of webhooks. */
export const QUARANTINE_SETTINGS = {
  QUARANTINE_MAX_BYTES: whole(
    1_048_576,
    1_099_511_627_776,
    268_435_456,
    'Room of the quarantine of the whole hub: half of it for webhooks that a secret of some route has verified, a quarter for what was sent to the path of a route, an eighth each for what names an account of a route and for all else. One workspace gets a quarter of each at most.',
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
  QUARANTINE_UNPROVEN_BODY_LIMIT_BYTES: whole(
    1_024,
    26_214_400,
    262_144,
    'The same for what no secret has verified and no path of a route names: anybody can send that.',
  ),
  QUARANTINE_PER_SECOND: whole(
    1,
    1_000,
    20,
    'Refused webhooks of one provider and reason that one ingress process keeps per second; five times as many at once after a rest, and three times as many over all of them. Counted apart for each workspace whose secret or path of a route it is, for what names accounts, and for all else.',
  ),
}
