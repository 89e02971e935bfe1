import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { SCOPES } from './scopes.ts'

const SEVEN_DAYS_SECONDS = 604_800

export const NewIdentityBody = Type.Object(
  {
    name: Type.String({
      pattern: '^svc:[a-z0-9]+(-[a-z0-9]+)*$',
      maxLength: 80,
      description: 'Subject of its tokens, e.g. `svc:buildos-backend`.',
    }),
    scopes: Type.Array(Type.Enum([...SCOPES]), {
      minItems: 1,
      uniqueItems: true,
      description: 'What its tokens may do. A token has those of them that belong to its plane.',
    }),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const RotateSecretBody = Type.Object(
  {
    overlap_seconds: Type.Integer({
      minimum: 0,
      maximum: SEVEN_DAYS_SECONDS,
      description:
        'How long the present secret is accepted besides the new one. 0 ends it at once: for a leak.',
    }),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const RevokeBody = Type.Object({ reason: Reason }, { additionalProperties: false })
export const IdentityParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the service identity.' }),
})
export const IdentitiesQuery = Type.Object(PageQuery, { additionalProperties: false })

const time = { format: 'date-time' } as const
const MaybeTime = (description: string) => Type.Union([Type.String(time), Type.Null()], { description })

export const IdentityView = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Also the OAuth client id.' }),
  name: Type.String({ description: 'Subject of its tokens.' }),
  scopes: Type.Array(Type.String(), { description: 'What its tokens may do, on both planes.' }),
  status: Type.Enum(['active', 'revoked'], { description: 'A revoked one gets no tokens.' }),
  created_at: Type.String({ ...time, description: 'When it was made.' }),
  last_used_at: MaybeTime('When it last asked for a token, to the minute.'),
  previous_secret_until: MaybeTime('Until then the secret before the present one is accepted too.'),
  revoked_at: MaybeTime('Since when it gets no tokens.'),
})
export type IdentityView = Static<typeof IdentityView>

export const IdentityPage = Page(IdentityView)
export const IdentityWithSecretView = Type.Object({
  ...IdentityView.properties,
  client_secret: Type.String({ description: 'Shown this once. Only its hash is stored.' }),
})
