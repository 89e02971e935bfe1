import { Type } from 'typebox'
import { closed, count, DAY, HOUR, MINUTE, milliseconds, mode, SAFE_ONLY, share } from './schema-fields.ts'

const factor = Type.Optional(
  Type.Number({ minimum: 1, maximum: 10, description: 'Growth of the longest wait per attempt.' }),
)

export const Timeouts = Type.Object(
  {
    connect_ms: milliseconds(50, 10_000, 'Name lookup, TCP and TLS handshake of one attempt.'),
    attempt_ms: milliseconds(100, MINUTE, 'One attempt, from its start to the last byte of the answer.'),
    total_ms: milliseconds(100, MINUTE, 'All attempts of one execution together, waits included.'),
  },
  {
    ...closed,
    title: 'Time limits',
    description: 'Time limits. `total_ms` applies to executions; a job has its schedule instead.',
  },
)

export const Retry = Type.Object(
  {
    max_attempts: count(1, 10, 'Attempts of one execution, the first one included. 1 = no retry.'),
    base_ms: milliseconds(1, MINUTE, 'Longest wait before the second attempt; the wait is random below it.'),
    factor,
    cap_ms: milliseconds(1, MINUTE, 'The longest wait never grows above this.'),
  },
  {
    ...closed,
    title: 'Retries of executions',
    description:
      'Retries inside one execution (POST /execute). Repeated is only what was never sent, or what may be ' +
      'repeated without a second effect.',
  },
)

export const RetryBudget = Type.Object(
  {
    mode: mode('Keeps retries from making an outage worse.'),
    tokens: count(
      1,
      100_000,
      'What the retries of the connector may use up. A retry costs 14 (5 when the upstream asked for patience), ' +
        'a call that succeeds gives some back; with none left nothing is repeated.',
    ),
    max_ratio: share(0, 'Retries among the calls of the connector that are under way.'),
    min_concurrent: count(0, 1_000, 'So many retries at once are allowed whatever their share.'),
  },
  {
    ...closed,
    title: 'Retry budget',
    description: 'Bounds the retries of all calls of a connector together.',
  },
)

export const Hedge = Type.Object(
  {
    enabled: Type.Optional(Type.Boolean({ description: 'Whether a second call is made at all.' })),
    delay_ms: Type.Optional(
      Type.Union([Type.Integer({ minimum: 100, maximum: MINUTE }), Type.Null()], {
        description:
          'How long the first call may be silent before the second is made. Milliseconds. null = the 95th ' +
          'percentile of the connector’s answers, at least 100.',
      }),
    ),
  },
  {
    ...closed,
    title: 'Hedging',
    description: `A second, equal call when the first one is slow; the first answer counts. ${SAFE_ONLY}`,
  },
)

export const JobRetry = Type.Object(
  {
    schedule_ms: Type.Optional(
      Type.Array(Type.Integer({ minimum: 0, maximum: 7 * DAY }), {
        minItems: 1,
        maxItems: 50,
        description:
          'The wait before each attempt, each ±20 %; the first belongs to the first attempt and is 0. ' +
          'As many attempts as entries. Excludes the other fields. Milliseconds.',
      }),
    ),
    max_attempts: count(1, 50, 'Attempts of one job, the first one included. 1 = no retry.'),
    base_ms: milliseconds(1, HOUR, 'Longest wait before the second attempt; the wait is random below it.'),
    factor,
    cap_ms: milliseconds(1, DAY, 'The longest wait never grows above this.'),
  },
  {
    ...closed,
    title: 'Retries of jobs',
    description: 'Retries of jobs: either a table of waits or exponentially growing waits.',
  },
)

export const JobWait = Type.Object(
  {
    upstream_ms: milliseconds(
      MINUTE,
      30 * DAY,
      'An upstream that answers 429 with Retry-After is waited for without spending attempts. A job that hears it ' +
        'this long after the first time becomes a dead letter with the reason `upstream_busy`.',
    ),
  },
  { ...closed, title: 'Waits of jobs', description: 'Bounds on waiting that spends no attempt.' },
)
