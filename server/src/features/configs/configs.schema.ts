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

export const RollbackBody = Type.Object(
  {
    to: Type.Optional({
      ...VersionNumber,
      description: 'Which version; absent = the one that was active before.',
    }),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const ValidateBody = Type.Object(
  {
    document: Type.Optional(ConfigDocument),
    version: Type.Optional(VersionNumber),
  },
  {
    additionalProperties: false,
    minProperties: 1,
    maxProperties: 1,
    description: 'Either a whole document or the number of a stored version.',
  },
)

export const BlastQuery = Type.Object({ version: VersionNumber }, { additionalProperties: false })

const count = (description: string) => Type.Integer({ description })

export const BlastRadius = Type.Object({
  active_version: count('The version that is active now; 0 = none.'),
  connectors: Type.Array(
    Type.Object({
      connector: Type.String({ description: 'Name of the connector.' }),
      change: Type.Enum(['added', 'changed', 'policy', 'removed'], {
        description: 'What happens to it; `policy` = only a policy that it uses changes.',
      }),
      webhook_routes: Type.Array(Type.String(), { description: 'Webhook routes that deliver to it.' }),
      jobs: Type.Object(
        {
          ready: count('Waiting for a worker.'),
          deferred: count('Waiting for a time.'),
          running: count('Held by a worker.'),
        },
        { description: 'Its jobs that are not finished, counted up to 10,000 of each kind per queue.' },
      ),
      calls_24h: Type.Object(
        {
          executions: count('Among the newest 100,000 of the workspace.'),
          job_attempts: count('Of the newest 10,000 jobs that were made in this time.'),
        },
        { description: 'Calls of the last 24 hours.' },
      ),
    }),
    { description: 'Every connector that changes or goes, by name.' },
  ),
})

export type BlastRadius = Static<typeof BlastRadius>

export const Validation = Type.Object({
  valid: Type.Boolean({ description: 'Whether it could be activated now.' }),
  faults: Type.Array(
    Type.Object({
      path: Type.String({ description: 'JSON pointer into the document.' }),
      message: Type.String({ description: 'What is wrong there.' }),
    }),
    { description: 'Every reason why not.' },
  ),
  ...BlastRadius.properties,
})
export type Validation = Static<typeof Validation>

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
