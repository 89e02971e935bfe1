import { type Static, Type } from 'typebox'

const milliseconds = (minimum: number, maximum: number, description: string) =>
  Type.Optional(Type.Integer({ minimum, maximum, description: `${description} Milliseconds.` }))
const attempts = (maximum: number, description: string) =>
  Type.Optional(Type.Integer({ minimum: 1, maximum, description }))

const closed = { additionalProperties: false }
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

export const Timeouts = Type.Object(
  {
    connect_ms: milliseconds(50, 10_000, 'Name lookup, TCP and TLS handshake of one attempt.'),
    attempt_ms: milliseconds(100, MINUTE, 'One attempt, from its start to the last byte of the answer.'),
    total_ms: milliseconds(100, MINUTE, 'All attempts of one execution together, waits included.'),
  },
  {
    ...closed,
    description: 'Time limits. `total_ms` applies to executions; a job has its schedule instead.',
  },
)

export const Retry = Type.Object(
  {
    max_attempts: attempts(10, 'Attempts of one execution, the first one included. 1 = no retry.'),
    base_ms: milliseconds(1, MINUTE, 'Longest wait before the second attempt; the wait is random below it.'),
    factor: Type.Optional(
      Type.Number({ minimum: 1, maximum: 10, description: 'Growth of the longest wait per attempt.' }),
    ),
    cap_ms: milliseconds(1, MINUTE, 'The longest wait never grows above this.'),
  },
  { ...closed, description: 'Retries inside one execution (POST /execute).' },
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
    max_attempts: attempts(50, 'Attempts of one job, the first one included. 1 = no retry.'),
    base_ms: milliseconds(1, HOUR, 'Longest wait before the second attempt; the wait is random below it.'),
    factor: Type.Optional(
      Type.Number({ minimum: 1, maximum: 10, description: 'Growth of the longest wait per attempt.' }),
    ),
    cap_ms: milliseconds(1, DAY, 'The longest wait never grows above this.'),
  },
  { ...closed, description: 'Retries of jobs: either a table of waits or exponentially growing waits.' },
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
  { ...closed, description: 'Bounds on waiting that spends no attempt.' },
)

const cap = (description: string) =>
  Type.Optional(
    Type.Union([Type.Integer({ minimum: 1, maximum: 10_000 }), Type.Null()], {
      description: `${description} null = no cap.`,
    }),
  )

export const Concurrency = Type.Object(
  {
    max_running: cap('Jobs of one connector that run at once, over all workers and queues.'),
    workspace_max_running: cap(
      'Jobs of the whole workspace that run at once, over all workers; only in the policy `default`.',
    ),
    workspace_weight: Type.Optional(
      Type.Union([Type.Integer({ minimum: 1, maximum: 100 }), Type.Null()], {
        description:
          'The share of the whole workspace when several have jobs that wait: with 3 it gets three places where one ' +
          'with 1 gets one. It limits nothing while places are free. null = 1; only in the policy `default`.',
      }),
    ),
  },
  {
    ...closed,
    description:
      'Caps on jobs, exact over all workers, and the share of the places. A job that waits for a place spends no attempt.',
  },
)

/** One policy of a workspace. Everything is optional: what is absent is inherited. */
export const PolicyDocument = Type.Object(
  {
    timeouts: Type.Optional(Timeouts),
    retry: Type.Optional(Retry),
    job_retry: Type.Optional(JobRetry),
    job_wait: Type.Optional(JobWait),
    concurrency: Type.Optional(Concurrency),
  },
  { ...closed, description: 'A policy. What is absent is inherited from the level above.' },
)
export type PolicyDocument = Static<typeof PolicyDocument>

/** What a single request may ask for: only less than the policy of its connector grants. */
export interface RequestLimits {
  /** Wire name `options.timeout_ms`. */
  readonly timeout_ms?: number
}
