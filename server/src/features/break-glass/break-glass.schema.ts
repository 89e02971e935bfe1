import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { MAX_MINUTES } from './break-glass.ts'
import { MAX_ENTRIES } from './review.ts'

export const OpenBody = Type.Object(
  {
    email: Type.String({ minLength: 3, maxLength: 254, description: 'E-mail address of the operator.' }),
    password: Type.String({ minLength: 1, maxLength: 200, description: 'Their password, again.' }),
    code: Type.String({ minLength: 6, maxLength: 64, description: 'A code of their second factor.' }),
    reason: Type.String({
      minLength: 10,
      maxLength: 500,
      pattern: '\\S',
      description: 'What the emergency is, for the Admins of all workspaces. 10 to 500 characters.',
    }),
    ticket: Type.String({
      minLength: 1,
      maxLength: 100,
      pattern: '\\S',
      description: 'The incident or ticket that this belongs to.',
    }),
    minutes: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: MAX_MINUTES,
        default: 30,
        description: `How long the session lives, ${MAX_MINUTES} at most.`,
      }),
    ),
  },
  { additionalProperties: false },
)

export const EnterBody = Type.Object(
  { workspace_id: Type.String({ format: 'uuid', description: 'The workspace to act in.' }), reason: Reason },
  { additionalProperties: false },
)
export const CloseBody = Type.Object({ reason: Reason }, { additionalProperties: false })
export const EndBody = CloseBody
export const ReviewBody = Type.Object(
  {
    review: Type.String({
      minLength: 1,
      maxLength: 2_000,
      pattern: '\\S',
      description: 'What was done, whether it was right, and what follows from it.',
    }),
    reason: Reason,
  },
  { additionalProperties: false },
)
export const SessionParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the emergency session.' }),
})
export const SessionsQuery = Type.Object(
  {
    ...PageQuery,
    reviewed: Type.Optional(
      Type.Boolean({ description: 'Only those that somebody has, or has not, reviewed.' }),
    ),
  },
  { additionalProperties: false },
)

const Utc = (description: string) => Type.String({ format: 'date-time', description })
const Nullable = (schema: ReturnType<typeof Type.String>, description: string) =>
  Type.Union([schema, Type.Null()], { description })

const FIELDS = {
  id: Type.String({ format: 'uuid', description: 'Id of the emergency session.' }),
  subject: Type.String({ description: 'Who opened it.' }),
  reason: Type.String({ description: 'Why.' }),
  ticket: Type.String({ description: 'The incident that it belongs to.' }),
  ip: Type.String({ description: 'From where.' }),
  started_at: Utc('When it was opened.'),
  expires_at: Utc('When it ends by itself.'),
  ended_at: Nullable(
    Utc('When it ended.'),
    'When it was ended, or its time was over; null = that has not happened, or nobody has told of it yet (a minute).',
  ),
  ended_by: Nullable(Type.String(), 'Who ended it; `system:control` when its time was over.'),
  reviewed_at: Nullable(Utc('When it was reviewed.'), 'When it was reviewed; null = the review is due.'),
  reviewed_by: Nullable(Type.String(), 'Who reviewed it.'),
  review: Nullable(Type.String(), 'What they found.'),
}

export const SessionView = Type.Object(FIELDS)
export type SessionView = Static<typeof SessionView>
export const SessionPage = Page(SessionView)

const AccessToken = Type.String({ description: 'Bearer token for this listener. It is shown once.' })
export const OpenedSession = Type.Object({ ...FIELDS, access_token: AccessToken })
export const WorkspaceToken = Type.Object({ access_token: AccessToken })

export const InspectedView = Type.Object({
  ...FIELDS,
  entries: Type.Array(
    Type.Object({
      workspace_id: Nullable(Type.String(), 'In whose audit log it is; null = in that of the platform.'),
      seq: Type.Integer({ description: 'Its number there.' }),
      at: Utc('When it was done.'),
      action: Type.String({ description: 'What was done.' }),
      object: Type.String({ description: 'What it was done to.' }),
      reason: Type.String({ description: 'Why, in the words of who did it.' }),
      request_id: Nullable(Type.String(), 'The request that did it.'),
    }),
    {
      description: `What was done in it, in all workspaces and on the platform, oldest first; ${MAX_ENTRIES} at most.`,
    },
  ),
  has_more_entries: Type.Boolean({
    description: 'Whether there are more; the audit logs have them all.',
  }),
})
