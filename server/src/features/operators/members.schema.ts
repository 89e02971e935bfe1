import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import {
  PLATFORM_ROLES,
  type PlatformRole,
  WORKSPACE_ROLES,
  type WorkspaceRole,
} from '../permissions/permissions.ts'
import { EMAIL_MAX_LENGTH, EMAIL_PATTERN } from './account.ts'
import { SessionView } from './own-account.schema.ts'

const time = { format: 'date-time' } as const
const closed = { additionalProperties: false }
const uuid = (description: string) => Type.String({ format: 'uuid', description })
const MaybeText = (description: string) => Type.Union([Type.String(), Type.Null()], { description })
const MaybeTime = (description: string) => Type.Union([Type.String(time), Type.Null()], { description })

const workspaceRoles = Object.keys(WORKSPACE_ROLES) as WorkspaceRole[]
const platformRoles = Object.keys(PLATFORM_ROLES) as PlatformRole[]

const Email = Type.String({
  pattern: EMAIL_PATTERN,
  minLength: 3,
  maxLength: EMAIL_MAX_LENGTH,
  description: 'Whom. Upper case does not matter.',
})
const Hours = Type.Optional(
  Type.Integer({ minimum: 1, maximum: 336, default: 72, description: 'How long the invitation is good.' }),
)

export const PeopleQuery = Type.Object(PageQuery, closed)
export const ReasonBody = Type.Object({ reason: Reason }, closed)
export const ReasonQuery = Type.Object({ reason: Reason }, closed)
export const OperatorParams = Type.Object({ id: uuid('Id of the operator.') })
export const InvitationParams = Type.Object({ id: uuid('Id of the invitation.') })

export const MemberRoleBody = Type.Object(
  { role: Type.Enum(workspaceRoles, { description: 'In place of the present one.' }), reason: Reason },
  closed,
)
export const InviteMemberBody = Type.Object(
  {
    email: Email,
    role: Type.Enum(workspaceRoles, { description: 'In this workspace.' }),
    hours: Hours,
    reason: Reason,
  },
  closed,
)
export const InviteOperatorBody = Type.Object(
  {
    email: Email,
    role: Type.Enum([...workspaceRoles, ...platformRoles], {
      description: 'A role of a workspace needs `workspace_id`, a platform role must not have it.',
    }),
    workspace_id: Type.Optional(uuid('The workspace that the role is in.')),
    hours: Hours,
    reason: Reason,
  },
  closed,
)
export const ResendBody = Type.Object({ hours: Hours, reason: Reason }, closed)
export const PlatformRolesBody = Type.Object(
  {
    roles: Type.Array(Type.Enum(platformRoles), {
      uniqueItems: true,
      maxItems: platformRoles.length,
      description: 'All of them; what is missing is taken away.',
    }),
    reason: Reason,
  },
  closed,
)

export const OperatorView = Type.Object({
  id: uuid('Id of the account.'),
  email: Type.String({ description: 'Its name.' }),
  name: Type.String({ description: 'How others see it.' }),
  subject: Type.String({ description: '`sub` of its tokens, and its name in the audit log.' }),
  second_factor: Type.Boolean({ description: 'There is one.' }),
  locked_at: MaybeTime('Since when nobody can sign on with it.'),
  created_at: Type.String({ ...time, description: 'When it was made.' }),
})
export type OperatorView = Static<typeof OperatorView>

export const MemberView = Type.Object({
  ...OperatorView.properties,
  role: Type.Enum(workspaceRoles, { description: 'In this workspace.' }),
  granted_at: Type.String({ ...time, description: 'Since when.' }),
  granted_by: Type.String({ description: 'Who gave it.' }),
})
export const MemberPage = Page(MemberView)

const Roles = Type.Array(
  Type.Object({
    workspace_id: MaybeText('Null = a platform role.'),
    role: Type.String({ description: 'The role.' }),
  }),
  { description: 'All roles, everywhere.' },
)
export const OperatorWithRolesView = Type.Object({ ...OperatorView.properties, roles: Roles })
export const OperatorDetailView = Type.Object({
  ...OperatorWithRolesView.properties,
  sessions: Type.Array(SessionView, { description: 'Live sessions, newest first.' }),
})
export const OperatorPage = Page(OperatorWithRolesView)
export const EndedView = Type.Object({
  ended: Type.Integer({ description: 'How many sessions there were.' }),
})

export const InvitationView = Type.Object({
  id: uuid('Id of the invitation.'),
  email: Type.String({ description: 'Whom.' }),
  workspace_id: MaybeText('Null = to a platform role.'),
  role: Type.String({ description: 'The role that it gives.' }),
  invited_by: Type.String({ description: 'Who invites.' }),
  created_at: Type.String({ ...time, description: 'When it was made.' }),
  expires_at: Type.String({ ...time, description: 'Until when it is good.' }),
})
export const InvitationPage = Page(InvitationView)
export const InvitationWithTokenView = Type.Object({
  ...InvitationView.properties,
  token: Type.String({ description: 'Hand it to the person. Shown this once.' }),
})
