import { Type } from 'typebox'
import { WORKSPACE_ROLES } from '../permissions/permissions.ts'
import { CodeField, InvitationToken, PasswordField } from './sign-on.schema.ts'

const time = { format: 'date-time' } as const
const closed = { additionalProperties: false }
const uuid = (description: string) => Type.String({ format: 'uuid', description })
const MaybeText = (description: string) => Type.Union([Type.String(), Type.Null()], { description })

export const SessionQuery = Type.Object(
  { workspace_id: Type.Optional(uuid('Say what is allowed in this workspace.')) },
  closed,
)
export const TokenBody = Type.Object(
  { workspace_id: Type.Optional(uuid('Absent: a token for what concerns the platform.')) },
  closed,
)
export const PasswordBody = Type.Object(
  {
    current_password: PasswordField('The present one.'),
    new_password: PasswordField('12 to 128 characters; long is better than odd.'),
  },
  closed,
)
export const EnrolBody = Type.Object({ code: Type.Optional(CodeField) }, closed)
export const CodeBody = Type.Object({ code: CodeField }, closed)
export const AcceptSignedOnBody = Type.Object({ token: InvitationToken }, closed)
export const SessionParams = Type.Object({ id: uuid('Id of the session.') })

export const SessionView = Type.Object({
  id: uuid('Also the `sid` of tokens that come from it.'),
  present: Type.Boolean({ description: 'It is the one that asks.' }),
  method: Type.Enum(['password', 'oidc'], { description: 'How it began.' }),
  mfa: Type.Boolean({ description: 'A second factor was shown.' }),
  created_at: Type.String({ ...time, description: 'When it began.' }),
  last_seen_at: Type.String({ ...time, description: 'When it was last used, to the minute.' }),
  expires_at: Type.String({ ...time, description: 'It ends then at the latest.' }),
  ip: MaybeText('Where from.'),
  user_agent: MaybeText('With what.'),
})
export const SessionList = Type.Object({
  data: Type.Array(SessionView, { description: 'Live sessions, newest first.' }),
})

export const WhoView = Type.Object({
  operator: Type.Object(
    {
      id: uuid('Id of the account.'),
      email: Type.String({ description: 'Its name.' }),
      name: Type.String({ description: 'How others see it.' }),
      subject: Type.String({ description: '`sub` of its tokens, and its name in the audit log.' }),
    },
    { description: 'Who has signed on.' },
  ),
  session: Type.Object(SessionView.properties, { description: 'The session that asks.' }),
  mfa: Type.Object(
    {
      enrolled: Type.Boolean({ description: 'There is a second factor.' }),
      required: Type.Boolean({ description: 'The roles ask for one.' }),
      recovery_codes_left: Type.Integer({ description: 'So many recovery codes were not used yet.' }),
    },
    { description: 'The second factor. `required` without `session.mfa`: only enrolment is allowed.' },
  ),
  platform_roles: Type.Array(Type.String(), { description: 'Roles in the whole hub.' }),
  workspaces: Type.Array(
    Type.Object({
      id: uuid('Id of the workspace.'),
      slug: Type.String({ description: 'Its name.' }),
      status: Type.String({ description: 'Whether it is active.' }),
      role: Type.Enum(Object.keys(WORKSPACE_ROLES), { description: 'Role in it.' }),
    }),
    { description: 'Workspaces with a role.' },
  ),
  permissions: Type.Array(Type.String(), {
    description: 'What a token for `workspace_id` would allow; without it, one for the platform.',
  }),
})

export const WorkspaceTokenView = Type.Object({
  access_token: Type.String({ description: 'Bearer token of this plane.' }),
  token_type: Type.Enum(['Bearer'], { description: 'How to send it.' }),
  expires_in: Type.Integer({ description: 'Seconds.' }),
  roles: Type.Array(Type.String(), { description: 'Roles in the token.' }),
})

export const EnrolmentView = Type.Object({
  secret: Type.String({ description: 'Base32, to type in. Shown this once.' }),
  otpauth_url: Type.String({ description: 'To show as a QR code. Holds the secret; shown this once.' }),
})
export const RecoveryCodesView = Type.Object({
  recovery_codes: Type.Array(Type.String(), { description: 'Each works once. Shown this once.' }),
})
export const DoneView = Type.Object({ done: Type.Boolean({ description: 'Always true.' }) })
