import { Type } from 'typebox'
import { closed, DAY, HOUR, MINUTE, milliseconds, SAFE_ONLY, SECOND } from './schema-fields.ts'

export const Fallback = Type.Object(
  {
    type: Type.Optional(
      Type.Enum(['none', 'stale', 'static'], {
        description:
          'What is answered instead of a failure: nothing, the last good answer to the same input, or always `output`.',
      }),
    ),
    max_stale_ms: milliseconds(SECOND, 7 * DAY, 'How old the answer of `stale` may be.'),
    output: Type.Optional(
      Type.Unknown({ description: 'The answer of `static`, at most 64 KiB of JSON. Stands beside it only.' }),
    ),
  },
  {
    ...closed,
    title: 'Fallback',
    description: `The answer when the call fails; the caller is told that it is a fallback. ${SAFE_ONLY}`,
  },
)

export const Cache = Type.Object(
  { ttl_ms: milliseconds(0, HOUR, 'How long an answer is given again for the same input. 0 = never.') },
  {
    ...closed,
    title: 'Response cache',
    description: `Good answers are kept in the memory of the process. ${SAFE_ONLY}`,
  },
)

export const Coalesce = Type.Object(
  {
    enabled: Type.Optional(
      Type.Boolean({ description: 'Whether equal calls that run at the same time share one answer.' }),
    ),
  },
  {
    ...closed,
    title: 'Coalescing',
    description: `Equal calls at the same time become one call upstream. ${SAFE_ONLY}`,
  },
)

export const Idempotency = Type.Object(
  {
    required: Type.Optional(
      Type.Boolean({
        description:
          'Whether an execution of an operation that is not safe has to bring an idempotency key, so that it ' +
          'cannot have its effect twice.',
      }),
    ),
    keep_ms: milliseconds(
      MINUTE,
      30 * DAY,
      'How long a key and its answer are known; after that the same key is a new execution.',
    ),
  },
  { ...closed, title: 'Idempotency', description: 'Keys that make repeating an execution harmless.' },
)
