import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { ConfigDocument } from './document.ts'

export const VersionNumber = Type.Integer({
  minimum: 1,
  maximum: 2_147_483_647,
  description: 'Number of a config version.',
})

export const VersionSummary = Type.Object({
  version: VersionNumber,
  active: Type.Boolean({ description: 'Whether executions and jobs use this version now.' }),
  sha256: Type.String({ description: 'Hash of the document in canonical JSON, lower-case hex.' }),
  author: Type.String({ description: 'Subject of the token that stored it.' }),
  reason: Type.String({ description: 'Why, in the words of its author.' }),
  created_at: Type.String({ format: 'date-time', description: 'When it was stored.' }),
})

export const Version = Type.Object({ ...VersionSummary.properties, document: ConfigDocument })
export type Version = Static<typeof Version>

export const VersionPage = Page(VersionSummary)

export const ListQuery = Type.Object({ ...PageQuery }, { additionalProperties: false })

export const VersionParams = Type.Object({ version: VersionNumber })

export const StoreBody = Type.Object(
  { document: ConfigDocument, reason: Reason },
  { additionalProperties: false },
)

export const ActivateBody = Type.Object(
  { version: VersionNumber, reason: Reason },
  { additionalProperties: false },
)

export const DiffQuery = Type.Object(
  { from: VersionNumber, to: VersionNumber },
  { additionalProperties: false },
)

export const Diff = Type.Object({
  from: VersionNumber,
  to: VersionNumber,
  differences: Type.Array(
    Type.Object({
      path: Type.String({ description: 'JSON pointer into the document.' }),
      before: Type.Optional(Type.Unknown({ description: 'In `from`; absent: it is not there.' })),
      after: Type.Optional(Type.Unknown({ description: 'In `to`; absent: it is not there.' })),
    }),
    { description: 'Every place that differs.' },
  ),
})

/** Optimistic locking: the version that the change was made from (RFC 9110 §13.1.1). */
export const IfMatchHeaders = Type.Object({
  'if-match': Type.Optional(
    Type.String({
      pattern: '^"?[0-9]{1,10}"?$',
      description: 'The active version that the change was made from; another active version answers 412.',
    }),
  ),
})

/** What a request wants to change: the active config of its workspace, perhaps only at a certain version. */
export const targetOf = (request: {
  readonly principal: { readonly tenantId: string }
  readonly headers: { readonly 'if-match'?: string | undefined }
}): { tenantId: string; ifMatch?: number } => {
  const ifMatch = request.headers['if-match']
  return {
    tenantId: request.principal.tenantId,
    ...(ifMatch !== undefined && { ifMatch: Number(ifMatch.replaceAll('"', '')) }),
  }
}

/** The `ETag` of a config version: what `If-Match` takes back. */
export const etagOf = (version: number): string => `"${version}"`
