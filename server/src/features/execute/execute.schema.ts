import { Type } from 'typebox'
import { CallFields, Metadata } from '../connectors/connectors.ts'
import { RequestLimitFields } from '../policies/policies.ts'

export const ExecuteBody = Type.Object(
  {
    ...CallFields,
    options: Type.Optional(
      Type.Object(
        {
          ...RequestLimitFields,
          dry_run: Type.Optional(
            Type.Boolean({
              description:
                'Check connector, operation, input, policy and secrets, and send nothing upstream.',
            }),
          ),
          metadata: Type.Optional(Metadata('Kept with the request log.')),
        },
        { additionalProperties: false, description: 'How this one call is made.' },
      ),
    ),
  },
  { additionalProperties: false },
)

/** The longest wait for a call that runs already, in seconds. */
export const MAX_WAIT_SECONDS = 10

export const ExecuteHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      description:
        'Names the piece of work: the same call with the same key again gives the first answer instead of a second effect. What goes upstream, where the provider takes a key, is `idempotency.upstream_key` of the answer. 1 to 255 visible ASCII characters. Needed where the operation is not safe, unless its policy excuses it; without one nothing is remembered.',
    }),
  ),
  prefer: Type.Optional(
    Type.String({
      description: `\`wait=N\` (RFC 7240): when the same call is running already, wait up to N seconds for its answer, at most ${MAX_WAIT_SECONDS}, instead of a 409 at once.`,
    }),
  ),
})

export const ExecuteResult = Type.Object({
  status: Type.Literal('ok', { description: 'Failures are problem documents.' }),
  execution_id: Type.String({
    format: 'uuid',
    description: 'Id of the execution; control shows it at `GET /executions/:id` when it had a key.',
  }),
  output: Type.Unknown({
    description: "Fits the operation's output schema; for a dry run what would be sent.",
  }),
  upstream: Type.Object(
    {
      http_status: Type.Union([Type.Integer(), Type.Null()], {
        description: 'Status of the last attempt; null for a dry run.',
      }),
    },
    { description: 'What the upstream answered.' },
  ),
  served_from: Type.Enum(['upstream', 'cache', 'coalesced', 'stale', 'static', 'operator', 'dry_run'], {
    description:
      'Who answered: the upstream, the memory of the hub, an equal call that was under way, or a fallback (`stale`: the last good answer, `static`: the one of the policy). These others than `upstream` only where the policy asks for it and the operation is safe. `operator`: somebody has entered it; `dry_run`: nobody was asked.',
  }),
  age_ms: Type.Optional(
    Type.Integer({ description: 'How old an answer from `cache` or `stale` is. Milliseconds.' }),
  ),
  attempts: Type.Integer({ description: 'Calls of the upstream; 0 when nothing was sent.' }),
  latency_ms: Type.Integer({ description: 'The whole execution, waits included. Milliseconds.' }),
  idempotency: Type.Object(
    {
      key: Type.String({ description: 'The key of the call; without one the upstream key.' }),
      upstream_key: Type.String({
        description:
          'Goes upstream on every attempt, where the provider takes a key: `orch-` and the id of the execution.',
      }),
      replayed: Type.Boolean({ description: 'True when this is the stored answer of an earlier execution.' }),
      expires_at: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
        description: 'Until then the key gives this answer; null when nothing is remembered.',
      }),
    },
    { description: 'How the execution is known again.' },
  ),
  settled_by: Type.Optional(
    Type.String({ description: 'The operator who found out what came of it and entered this output.' }),
  ),
  request_id: Type.String({
    description: 'Id of the request that was executed: of the first one, when this is its replay.',
  }),
  trace_id: Type.String({ description: 'The trace that this request began or went on with.' }),
})
