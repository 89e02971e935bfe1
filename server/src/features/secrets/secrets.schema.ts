import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { SECRET_STORES } from './stores/registry.ts'
import { MAX_SECRET_BYTES } from './stores/store.ts'

const schemes = SECRET_STORES.map(({ scheme }) => scheme).join('|')
const MAX_OVERLAP_SECONDS = 30 * 24 * 3_600

const name = Type.String({
  pattern: '^[a-z0-9]+(-[a-z0-9]+)*$',
  maxLength: 63,
  description: 'Name of the secret ref.',
})

const overlap = (what: string) =>
  Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: MAX_OVERLAP_SECONDS,
      description: `Seconds for which ${what} is still accepted where signatures are checked and made. Absent: 0, not at all. Overlaps of earlier rotations end in any case.`,
    }),
  )

export const SecretRefParams = Type.Object({ name })

export const SecretVersionParams = Type.Object({
  name,
  version: Type.Integer({ minimum: 1, maximum: 2_147_483_647, description: 'Number of the version.' }),
})

export const PutSecretRefBody = Type.Object(
  {
    ref: Type.String({
      pattern: `^(${schemes})://`,
      maxLength: 300,
      description: `Where the value is, never the value itself: ${SECRET_STORES.map(({ addressRule }) => addressRule).join('; or ')}.`,
    }),
    overlap_seconds: overlap('the value at the place before'),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const PutSecretValueBody = Type.Object(
  {
    value: Type.String({
      minLength: 1,
      maxLength: MAX_SECRET_BYTES,
      writeOnly: true,
      description: `The value, at most ${MAX_SECRET_BYTES} bytes of UTF-8. It is kept sealed, and no answer ever holds it.`,
    }),
    overlap_seconds: overlap('the value before'),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const RevertSecretBody = Type.Object(
  { overlap_seconds: overlap('the value that is taken back'), reason: Reason },
  { additionalProperties: false },
)

export const DeleteSecretRefQuery = Type.Object({ reason: Reason }, { additionalProperties: false })

export const SecretRefsQuery = Type.Object(PageQuery, { additionalProperties: false })

export const SecretRefGone = Type.Null({ description: 'Deleted.' })

const time = (description: string) => Type.String({ format: 'date-time', description })
const ref = {
  name: Type.String({ description: 'Name of the secret ref.' }),
  ref: Type.String({ description: 'Where the value is.' }),
}
const version = Type.Union([Type.Integer(), Type.Null()], {
  description: 'Version of the value that the hub keeps; null where the value is elsewhere or not yet put.',
})
const lastFour = Type.Union([Type.String(), Type.Null()], {
  description: 'Last four characters of a value that the hub keeps, when it has 16 or more.',
})
const age = Type.Integer({
  minimum: 0,
  description: 'Seconds since the place or the value was changed here.',
})

export const SecretRefView = Type.Object({
  ...ref,
  version,
  last_four: lastFour,
  age_seconds: age,
  previous: Type.Union(
    [
      Type.Object({
        ref: Type.String({ description: 'Where the value was before.' }),
        accepted_until: time('Until when that value is still accepted.'),
      }),
      Type.Null(),
    ],
    {
      description: 'The place before, while its value is still accepted. Versions at one place: `/versions`.',
    },
  ),
  last_used_at: Type.Union([time('To the minute, some seconds late.'), Type.Null()], {
    description: 'When a process last used the value; null = never.',
  }),
  created_at: time('When it was made.'),
  updated_at: time('When it was last pointed elsewhere.'),
})
export type SecretRefView = Static<typeof SecretRefView>

export const SecretRefPage = Page(SecretRefView)

export const SecretRefDetail = Type.Object({
  ...SecretRefView.properties,
  used_by: Type.Array(Type.String(), {
    description: 'What would break without it, e.g. `connector:stripe`, `webhook_route:…`.',
  }),
})

export const SecretVersionView = Type.Object({
  version: Type.Integer({ description: 'Number of the version.' }),
  state: Type.Enum(['active', 'accepted', 'replaced'], {
    description: '`accepted` = replaced, but still accepted where signatures are checked and made.',
  }),
  accepted_until: Type.Union([time('End of the overlap.'), Type.Null()], {
    description: 'Until when a replaced version is or was accepted.',
  }),
  last_four: lastFour,
  created_at: time('When it was put.'),
  created_by: Type.String({ description: 'Who put it.' }),
})
export type SecretVersionView = Static<typeof SecretVersionView>

export const SecretVersionPage = Page(SecretVersionView)

export const SecretHealthView = Type.Object({
  ...ref,
  version,
  age_seconds: age,
  resolves: Type.Boolean({ description: 'True when this process finds a usable value there now.' }),
  why: Type.Optional(Type.String({ description: 'Why not.' })),
})
export type SecretHealthView = Static<typeof SecretHealthView>

export const SecretHealthPage = Page(SecretHealthView)
