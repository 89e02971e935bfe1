import { Type } from 'typebox'
import { EMAIL_MAX_LENGTH } from './account.ts'

const time = { format: 'date-time' } as const
const closed = { additionalProperties: false }

/** Longer than any that is accepted, so that a paste by mistake is told what is wrong with it. */
export const PasswordField = (description: string) =>
  Type.String({ minLength: 1, maxLength: 512, description })
export const CodeField = Type.String({
  minLength: 6,
  maxLength: 40,
  pattern: '^[0-9A-Za-z -]+$',
  description: 'Six digits of the authenticator app, or a recovery code. Each works once.',
})
const token = (prefix: string, description: string) =>
  Type.String({ pattern: `^${prefix}[A-Za-z0-9_-]{43}$`, description })
export const InvitationToken = token('inv_', 'The token of the invitation.')

export const LoginBody = Type.Object(
  {
    email: Type.String({ minLength: 1, maxLength: EMAIL_MAX_LENGTH, description: 'Who signs on.' }),
    password: PasswordField('Their password.'),
  },
  closed,
)

export const MfaBody = Type.Object(
  { ticket: token('mfa_', 'From `POST /auth/login`.'), code: CodeField },
  closed,
)

export const AcceptBody = Type.Object(
  {
    token: InvitationToken,
    name: Type.String({ minLength: 1, maxLength: 100, pattern: '\\S', description: 'How others see you.' }),
    password: PasswordField('12 to 128 characters; long is better than odd.'),
  },
  closed,
)

export const CallbackQuery = Type.Object(
  {
    state: Type.String({ minLength: 1, maxLength: 512, description: 'As the provider sent it.' }),
    code: Type.Optional(Type.String({ maxLength: 4_096, description: 'As the provider sent it.' })),
    iss: Type.Optional(Type.String({ maxLength: 512, description: 'As the provider sent it (RFC 9207).' })),
    session_state: Type.Optional(Type.String({ maxLength: 512, description: 'As the provider sent it.' })),
    scope: Type.Optional(Type.String({ maxLength: 2_000, description: 'As the provider sent it.' })),
    authuser: Type.Optional(Type.String({ maxLength: 200, description: 'As the provider sent it.' })),
    prompt: Type.Optional(Type.String({ maxLength: 200, description: 'As the provider sent it.' })),
    hd: Type.Optional(Type.String({ maxLength: 512, description: 'As the provider sent it.' })),
    error: Type.Optional(Type.String({ maxLength: 200, description: 'As the provider sent it.' })),
    error_description: Type.Optional(
      Type.String({ maxLength: 2_000, description: 'As the provider sent it.' }),
    ),
  },
  closed,
)

export const OidcSessionBody = Type.Object(
  {
    code: token('sso_', 'From `GET /auth/oidc/callback`; good for a minute.'),
    binding: token('sst_', 'From `GET /auth/oidc/start`, kept with the browser that began.'),
  },
  closed,
)

export const OidcStart = Type.Object({
  authorization_url: Type.String({ description: 'Where to send the browser.' }),
  binding: Type.String({ description: 'Keep it with this browser; the session is given for it.' }),
})

export const OidcCode = Type.Object({
  code: Type.String({ description: 'Exchange it with `POST /auth/oidc/session` within a minute.' }),
})

const session = {
  session_token: Type.String({ description: 'Bearer token of `/auth`. Shown this once.' }),
  session_id: Type.String({ format: 'uuid', description: 'Also the `sid` of tokens that come from it.' }),
  expires_at: Type.String({ ...time, description: 'It ends then at the latest.' }),
  idle_seconds: Type.Integer({ description: 'It ends this long after it was last used.' }),
}

export const SignedOnView = Type.Object(session)
export const EnrolledView = Type.Object({
  ...session,
  recovery_codes: Type.Array(Type.String(), { description: 'Each works once. Shown this once.' }),
})

export const SignOnView = Type.Object({
  status: Type.Enum(['signed_on', 'mfa_required'], {
    description: '`mfa_required`: go on with `POST /auth/mfa`.',
  }),
  ...Type.Partial(Type.Object(session)).properties,
  ticket: Type.Optional(Type.String({ description: 'With `mfa_required`: for `POST /auth/mfa`.' })),
  ticket_expires_at: Type.Optional(Type.String({ ...time, description: 'The ticket is good until then.' })),
})
