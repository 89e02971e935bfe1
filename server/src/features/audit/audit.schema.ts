import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'

const Text = (description: string) => Type.Optional(Type.String({ maxLength: 300, description }))

export const AuditQuery = Type.Object(
  {
    ...PageQuery,
    actor: Text('Only entries of this subject.'),
    action: Text('Only entries of this action, e.g. `identity.revoked`.'),
    object: Text('Only entries about this object, e.g. `identity:svc:billing`.'),
  },
  { additionalProperties: false },
)
export type AuditQuery = Static<typeof AuditQuery>

const AuditEntryView = Type.Object({
  seq: Type.Integer({ description: 'Number in the chain of the workspace, from 1 without gap.' }),
  at: Type.String({ format: 'date-time', description: 'When the change was made.' }),
  actor: Type.String({ description: 'Subject of the token that made the change.' }),
  action: Type.String({ description: 'What was done, e.g. `connector.changed`.' }),
  object: Type.String({ description: 'What it was done to, e.g. `connector:stripe`.' }),
  reason: Type.String({ description: 'Why, in the words of who did it.' }),
  diff: Type.Array(
    Type.Object({
      path: Type.String({ description: 'JSON pointer to the changed field.' }),
      before: Type.Optional(Type.Unknown({ description: 'Absent: the field is new.' })),
      after: Type.Optional(Type.Unknown({ description: 'Absent: the field is gone.' })),
    }),
    { description: 'The changed fields.' },
  ),
  request_id: Type.Union([Type.String(), Type.Null()], { description: 'The request that made the change.' }),
  trace_id: Type.Union([Type.String(), Type.Null()], { description: 'The trace of that request.' }),
  hash: Type.String({ description: 'SHA-256 over the hash of the entry before and this entry, hex.' }),
})
export type AuditEntryView = Static<typeof AuditEntryView>

export const AuditPage = Page(AuditEntryView)

export const ChainView = Type.Object({
  intact: Type.Boolean({ description: 'Whether every entry is there and as it was written.' }),
  entries: Type.Optional(Type.Integer({ description: 'How many entries were verified.' })),
  head: Type.Optional(
    Type.String({
      description: 'Hash of the last entry: keep it outside of the hub to prove later changes.',
    }),
  ),
  seq: Type.Optional(Type.Integer({ description: 'The first entry that is missing or was changed.' })),
  why: Type.Optional(Type.String({ description: 'What is wrong with it.' })),
})
