import { Type } from 'typebox'
import { PRIORITIES } from './policy.ts'
import { closed, count, DAY, HOUR, MINUTE, milliseconds, mode, SECOND, share } from './schema-fields.ts'

export const Breaker = Type.Object(
  {
    mode: mode('Stops calling an upstream that is down, and so gives it room to come back.'),
    consecutive_failures: count(1, 1_000, 'Opens after so many calls in a row that got no answer at all.'),
    failure_rate: share(0.01, 'Opens when at least this part of the calls in the window failed.'),
    slow_rate: share(0.01, 'Opens when at least this part of the calls in the window was slow.'),
    slow_call_ms: Type.Optional(
      Type.Union([Type.Integer({ minimum: 1, maximum: MINUTE }), Type.Null()], {
        description:
          'From this duration on a call is slow. Milliseconds. null = 80 % of what the operation may take for an attempt.',
      }),
    ),
    min_calls: count(1, 10_000, 'With fewer calls in the window the two rates say nothing.'),
    window_ms: milliseconds(SECOND, 10 * MINUTE, 'The time that the two rates look back on.'),
    open_ms: milliseconds(
      1,
      HOUR,
      'How long it stays open the first time, ±20 %; doubled with every opening after it.',
    ),
    open_cap_ms: milliseconds(1, HOUR, 'It never stays open longer than this.'),
    probes: count(
      1,
      100,
      'Calls that are let through, one at a time, before it decides whether to close. 429 counts as a success, and as many calls in a row that say nothing as one failure.',
    ),
    close_rate: share(0.01, 'Closes when at least this part of the probes succeeded.'),
  },
  {
    ...closed,
    title: 'Circuit breaker',
    description: 'The circuit breaker of a connector. An answer of 429 never counts against an upstream.',
  },
)

const rateLimit = (description: string) =>
  Type.Optional(
    Type.Union(
      [
        Type.Object(
          {
            mode: mode('What becomes of a call that is too much.'),
            permits: Type.Integer({
              minimum: 1,
              maximum: 1_000_000,
              description: 'So many permits per period, spread evenly.',
            }),
            period_ms: milliseconds(1, DAY, 'Absent = 1000.'),
            burst: count(
              1,
              1_000_000,
              'So many permits at once after a rest; of five or more, executions leave a fifth to attempts of jobs. Absent = as many as `permits`.',
            ),
          },
          closed,
        ),
        Type.Null(),
      ],
      {
        description: `${description} It is inherited or replaced as a whole; null takes an inherited one away.`,
      },
    ),
  )

export const RateLimits = Type.Object(
  {
    workspace: rateLimit('All calls of the workspace together; only in the policy `default`.'),
    connector: rateLimit('All calls through one connector.'),
    operation: rateLimit('All calls of one operation of a connector, each operation by itself.'),
    caller: rateLimit(
      'The calls of one caller through one connector. The caller is `options.rate_limit_key` of the request; ' +
        'calls without it are not counted by this limit.',
    ),
    cost: count(
      1,
      1_000,
      'Permits that one call takes of every limit. A request may say that it takes more.',
    ),
  },
  {
    ...closed,
    title: 'Rate limits',
    description: 'A call passes when every limit has room, and is charged to all or to none of them.',
  },
)

export const Bulkhead = Type.Object(
  {
    mode: mode('Keeps one slow upstream from taking everything.'),
    max_in_flight: count(1, 10_000, 'Executions of the connector that are under way at once, per process.'),
    max_waiting: count(0, 10_000, 'Executions that may wait for a place; one more is refused at once.'),
    wait_ms: milliseconds(0, MINUTE, 'Longest wait for a place.'),
    workspace_mode: mode('The same for `workspace_max_in_flight`; only in the policy `default`.'),
    workspace_max_in_flight: count(
      1,
      100_000,
      'Executions of the whole workspace at once, per process; only in the policy `default`.',
    ),
  },
  { ...closed, title: 'Bulkhead', description: 'Caps on executions that are under way at once.' },
)

export const priority = (description: string) => Type.Optional(Type.Enum(PRIORITIES, { description }))

export const LoadShedding = Type.Object(
  {
    mode: mode('What an overloaded process does with executions and with jobs that are submitted.'),
    priority: priority(
      'Who has to give way first: `low`, then `default`, then `critical`. Of executions; jobs give way by their queue.',
    ),
  },
  {
    ...closed,
    title: 'Load shedding',
    description: 'When a process is overloaded it refuses the least important executions and jobs first.',
  },
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
    title: 'Jobs at once',
    description:
      'Caps on jobs, exact over all workers, and the share of the places. A job that waits for a place spends no attempt.',
  },
)
