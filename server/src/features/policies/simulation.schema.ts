import { type Static, Type } from 'typebox'
import { PolicyDocument } from './policies.schema.ts'

const closed = { additionalProperties: false }
const number = (description: string) => Type.Integer({ description })
const name = (description: string) => Type.String({ minLength: 1, maxLength: 200, description })

export const SimulateBody = Type.Object(
  {
    policy: PolicyDocument,
    as: Type.Enum(['workspace', 'connector', 'operation', 'policy'], {
      description:
        'Where the draft would stand: as the policy `default`, as the policy of `connector`, as that of its ' +
        '`operation`, or in the place of the policy `name` wherever that is used.',
    }),
    name: Type.Optional(name('The policy that the draft would replace; for `as: policy`.')),
    connector: Type.Optional(
      name('Only calls of this connector; needed for `as: connector` and `operation`.'),
    ),
    operation: Type.Optional(name('Only calls of this operation; needed for `as: operation`.')),
    last: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10_000,
        description: 'How many of the last logged executions are sent through it. Absent = 1000.',
      }),
    ),
  },
  closed,
)
export type SimulateBody = Static<typeof SimulateBody>

const byLimit = (scope: string) => Type.Optional(number(`By the limit \`${scope}\`.`))
const ByLimit = Type.Object(
  {
    workspace: byLimit('workspace'),
    connector: byLimit('connector'),
    operation: byLimit('operation'),
    caller: byLimit('caller'),
  },
  {
    ...closed,
    description: 'Calls that a limit had no room for, by limit. One call may be counted by several.',
  },
)

const Examples = Type.Array(Type.String(), { description: 'The first request ids, at most 20.' })

const Outcome = Type.Object(
  {
    calls: number('Calls that went in. Those of connectors and operations that are gone are left out.'),
    limited: number('Refused by a rate limit.'),
    by_limit: ByLimit,
    refused_by_breaker: number('Refused, or not tried again, because the breaker was open.'),
    openings: Type.Array(
      Type.Object(
        {
          connector: Type.String({ description: 'The connector of the breaker.' }),
          at: Type.String({ description: 'When it would have opened.' }),
          until: Type.String({ description: 'Until when at least it would have been open.' }),
          why: Type.String({ description: 'What it had seen.' }),
          shadow: Type.Boolean({ description: 'It would only have watched.' }),
        },
        closed,
      ),
      { description: 'Openings of breakers, the first hundred.' },
    ),
    openings_total: number('All openings.'),
    retried: number('Calls with more than one attempt.'),
    given_up_earlier: number('Calls that would have had fewer attempts than they had.'),
    repeated_further: number(
      'Calls that would have had more attempts than they had. Nobody knows how those would have ended.',
    ),
    timed_out: number('Calls that a time limit would have ended, or that ended so by themselves.'),
    not_known: number('Calls that were never sent then, so that nobody knows what would have come of them.'),
    shadow: Type.Object(
      {
        limited: number('Calls that limits in shadow mode had no room for.'),
        by_limit: ByLimit,
        refused_by_breaker: number('Calls that a breaker in shadow mode was open for.'),
        given_up_earlier: number('Calls that a retry budget in shadow mode would have stopped.'),
      },
      { ...closed, description: 'What rules in shadow mode would have done besides.' },
    ),
    examples: Type.Object(
      {
        limited: Examples,
        refused_by_breaker: Examples,
        retried: Examples,
        given_up_earlier: Examples,
        repeated_further: Examples,
        timed_out: Examples,
        not_known: Examples,
      },
      { ...closed, description: 'Calls of each kind, to look at.' },
    ),
  },
  { ...closed, description: 'What would have come of the calls.' },
)

const moment = (description: string) => Type.Union([Type.String(), Type.Null()], { description })

export const Simulation = Type.Object(
  {
    config_version: Type.Integer({ description: 'The active version that the draft was put into.' }),
    logged: number('Logged executions that were found.'),
    from: moment('When the first of them ended; null when there is none.'),
    to: moment('When the last of them ended; null when there is none.'),
    would_have: Outcome,
    active: Outcome,
  },
  closed,
)
