import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { MAX_MINUTES } from './impersonation.ts'

export const StartBody = Type.Object(
  {
    operator_id: Type.String({
      format: 'uuid',
      description: 'Whom to act as: a member of this workspace who is not an Admin and has no platform role.',
    }),
    minutes: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: MAX_MINUTES,
        default: 15,
        description: `How long the token lives, ${MAX_MINUTES} at most.`,
      }),
    ),
    write: Type.Optional(
      Type.Boolean({
        default: false,
        description: 'Whether to do what the member may do, instead of only seeing it.',
      }),
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const StopBody = Type.Object({ reason: Reason }, { additionalProperties: false })
export const ImpersonationParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the impersonation.' }),
})
export const ImpersonationsQuery = Type.Object(PageQuery, { additionalProperties: false })

const Utc = (description: string) => Type.String({ format: 'date-time', description })

const FIELDS = {
  id: Type.String({ format: 'uuid', description: 'Id of the impersonation.' }),
  impersonator: Type.String({ description: 'Who acted.' }),
  subject: Type.String({ description: 'As whom.' }),
  read_only: Type.Boolean({ description: 'Whether only seeing was allowed.' }),
  reason: Type.String({ description: 'Why it was started.' }),
  started_at: Utc('When it was started.'),
  expires_at: Utc('When it ends by itself.'),
  ended_at: Type.Union([Utc('When it was stopped.'), Type.Null()], {
    description:
      'When it was ended before its time, by a stop, a sign-out, a changed role or a locked account; null = it was not.',
  }),
  ended_by: Type.Union([Type.String(), Type.Null()], { description: 'Who ended it.' }),
  active: Type.Boolean({ description: 'Whether it goes on: false once it was ended or its time is over.' }),
}

export const ImpersonationView = Type.Object(FIELDS)
export type ImpersonationView = Static<typeof ImpersonationView>
export const ImpersonationPage = Page(ImpersonationView)

export const StartedImpersonation = Type.Object({
  ...FIELDS,
  access_token: Type.String({
    description: 'Token of the control plane for this workspace. It is shown once.',
  }),
})
