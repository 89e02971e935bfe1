import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { SCOPES } from './scopes.ts'

const SEVEN_DAYS_SECONDS = 604_800

const CertificateSha256 = Type.Union([Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' }), Type.Null()], {
  description:
    'The one client certificate that may ask for tokens: base64url SHA-256 of its DER form (RFC 8705 §3.1). Demands a certificate by itself.',
})

const LIMITS = {
  expires_at: Type.Optional(
    Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
      description:
        'From then on it gets no tokens, and none of its tokens lives longer. Null or absent: never. In an emergency session its end is the latest.',
    }),
  ),
  certificate_bound: Type.Optional(
    Type.Boolean({
      description:
        'Whether it gets tokens only over mutual TLS, each good only on connections with the same client certificate (RFC 8705 §3). Needs TLS_CLIENT_CA_FILE.',
    }),
  ),
  certificate_sha256: Type.Optional(CertificateSha256),
}

export const IdentityChangeBody = Type.Object(
  {
    scopes: Type.Optional(
      Type.Array(Type.Enum([...SCOPES]), {
        minItems: 1,
        uniqueItems: true,
        description: 'What its tokens may do from now on.',
      }),
    ),
    ...LIMITS,
    reason: Reason,
  },
  { additionalProperties: false, minProperties: 2 },
)

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
    ...LIMITS,
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
    end_tokens: Type.Optional(
      Type.Boolean({
        description: 'Whether the tokens that it holds end within 5 s, too. Needs `overlap_seconds` 0.',
      }),
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const EndTokensBody = Type.Object({ reason: Reason }, { additionalProperties: false })
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
  status: Type.Enum(['active', 'expired', 'revoked'], { description: 'Only an active one gets tokens.' }),
  created_at: Type.String({ ...time, description: 'When it was made.' }),
  created_by: Type.Union([Type.String(), Type.Null()], {
    description: 'Subject of the token that made it; null when it is older than this is kept.',
  }),
  last_used_at: MaybeTime('When it last asked for a token, to the minute.'),
  previous_secret_until: MaybeTime('Until then the secret before the present one is accepted too.'),
  revoked_at: MaybeTime('Since when it gets no tokens.'),
  expires_at: MaybeTime('When it expires.'),
  certificate_bound: Type.Boolean({ description: 'Whether its tokens are bound to client certificates.' }),
  certificate_sha256: CertificateSha256,
})
export type IdentityView = Static<typeof IdentityView>

export const RevokedIdentityView = Type.Object({
  ...IdentityView.properties,
  left_behind: Type.Array(
    Type.Object({
      id: Type.String({ format: 'uuid', description: 'Id of the service identity.' }),
      name: Type.String({ description: 'Subject of its tokens.' }),
    }),
    {
      description:
        'Identities that it has made and that are not revoked, at most 100: revoke them, too, when it has leaked.',
    },
  ),
})

export const IdentityPage = Page(IdentityView)
export const IdentityWithSecretView = Type.Object({
  ...IdentityView.properties,
  client_secret: Type.String({ description: 'Shown this once. Only its hash is stored.' }),
})
