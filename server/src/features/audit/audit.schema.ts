import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import type { AuditEntry } from './audit-entry.ts'

const Text = (description: string) => Type.Optional(Type.String({ maxLength: 300, description }))
const Time = (description: string) => Type.Optional(Type.String({ format: 'date-time', description }))
const Maybe = (description: string) => Type.Union([Type.String(), Type.Null()], { description })

const Filter = {
  actor: Text('Only entries of this subject, also as the one who impersonated somebody.'),
  action: Text('Only entries of this action, e.g. `identity.revoked`.'),
  object: Text('Only entries about this object, e.g. `identity:svc:billing`.'),
  from: Time('Only entries of this time or later.'),
  to: Time('Only entries before this time.'),
}

export const AuditQuery = Type.Object({ ...PageQuery, ...Filter }, { additionalProperties: false })
export type AuditQuery = Static<typeof AuditQuery>

export const AuditExportQuery = Type.Object(
  {
    format: Type.Optional(
      Type.Enum(['json', 'csv'], {
        default: 'json',
        description:
          '`json`: one JSON object per line (NDJSON). `csv`: RFC 4180 with a header; cells that a spreadsheet would run as a formula begin with an apostrophe.',
      }),
    ),
    ...Filter,
  },
  { additionalProperties: false },
)

const AuditEntryView = Type.Object({
  seq: Type.Integer({ description: 'Number in the chain of the workspace, from 1 without gap.' }),
  at: Type.String({ format: 'date-time', description: 'When the change was made.' }),
  actor: Type.String({ description: 'Subject of the token that made the change.' }),
  role: Maybe('Roles of the actor at that time, joined by commas; null for machines.'),
  impersonator: Maybe('Who really acted, when the actor was impersonated.'),
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
  ip: Maybe('Address that the request came from; null for what no request did.'),
  user_agent: Maybe('What the caller said that it is; the first 300 characters.'),
  request_id: Maybe('The request that made the change.'),
  trace_id: Maybe('The trace of that request.'),
  hash: Type.String({ description: 'SHA-256 over the hash of the entry before and this entry, hex.' }),
})
export type AuditEntryView = Static<typeof AuditEntryView>

export const AuditPage = Page(AuditEntryView)

export const auditView = (entry: AuditEntry): AuditEntryView => ({
  seq: entry.seq,
  at: entry.at.toISOString(),
  actor: entry.actor,
  role: entry.role,
  impersonator: entry.impersonator,
  action: entry.action,
  object: entry.object,
  reason: entry.reason,
  diff: [...entry.diff],
  ip: entry.ip,
  user_agent: entry.userAgent,
  request_id: entry.requestId,
  trace_id: entry.traceId,
  hash: entry.hash,
})

const chainFields = {
  intact: Type.Boolean({ description: 'Whether every entry is there and as it was written.' }),
  entries: Type.Optional(Type.Integer({ description: 'How many entries were verified.' })),
  head: Type.Optional(
    Type.String({
      description: 'Hash of the last entry: keep it outside of the hub to prove later changes.',
    }),
  ),
  checkpoints: Type.Optional(Type.Integer({ description: 'How many signed checkpoints agree.' })),
  removed: Type.Optional(
    Type.Integer({ description: 'So many of the oldest entries went when their time was over.' }),
  ),
  seq: Type.Optional(Type.Integer({ description: 'The first entry that is missing or was changed.' })),
  why: Type.Optional(Type.String({ description: 'What is wrong with it.' })),
}

export const ChainView = Type.Object(chainFields)

export const ChainsView = Type.Object({
  intact: Type.Boolean({ description: 'Whether every chain is intact.' }),
  chains: Type.Array(
    Type.Object({
      tenant_id: Type.String({ description: 'Id of the workspace; all zeros for the platform.' }),
      workspace: Maybe('Its slug; null for the platform, and for a workspace that is gone.'),
      ...chainFields,
    }),
    { description: 'Every chain of the hub.' },
  ),
})
