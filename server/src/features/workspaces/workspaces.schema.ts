import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { PolicyDocument } from '../policies/policies.ts'
import {
  DEFAULT_QUOTAS,
  QUOTA_MAXIMA,
  QUOTAS,
  type Quota,
  SLUG_MAX_LENGTH,
  SLUG_PATTERN,
} from './workspaces.ts'

export const NewWorkspaceBody = Type.Object(
  {
    slug: Type.String({
      pattern: SLUG_PATTERN,
      maxLength: SLUG_MAX_LENGTH,
      description: 'Short name that never changes; ends in the environment of this hub, e.g. `buildos-dev`.',
    }),
    name: Type.String({
      minLength: 1,
      maxLength: 100,
      pattern: '\\S',
      description: 'Name for people.',
    }),
    template: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 40,
        description:
          'What it begins with (GET /workspaces/templates): its policies become version 1 of the config, its quotas the limits. Absent = `standard-dev` or `standard-prod`.',
      }),
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const WorkspaceParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the workspace.' }),
})
export const StatusBody = Type.Object({ reason: Reason }, { additionalProperties: false })
const STATUSES = ['active', 'suspended', 'deleting', 'deleted'] as const
export const WorkspacesQuery = Type.Object(
  {
    ...PageQuery,
    status: Type.Optional(
      Type.Enum(STATUSES, { description: 'Only those. Absent = all but the deleted ones.' }),
    ),
  },
  { additionalProperties: false },
)

export const WorkspaceView = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the workspace: `tid` of its tokens.' }),
  slug: Type.String({ description: 'Short name that never changes.' }),
  name: Type.String({ description: 'Name for people.' }),
  environment: Type.Enum(['dev', 'prod'], { description: 'The environment that its slug ends in.' }),
  status: Type.Enum(STATUSES, {
    description:
      'Every call of one that is not active is refused. One that is `deleting` can be restored until `delete_after`; of a deleted one its slug and its audit log are left.',
  }),
  status_change: Type.Union(
    [
      Type.Object({
        reason: Type.String({ description: 'Why, in the words of who did it.' }),
        by: Type.String({ description: 'Who did it.' }),
        since: Type.String({ format: 'date-time', description: 'Since when.' }),
      }),
      Type.Null(),
    ],
    { description: 'Why it has its status; null = since it was made.' },
  ),
  delete_after: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
    description: 'When its data goes, or went; null = it is not being deleted.',
  }),
  template: Type.Union([Type.String(), Type.Null()], {
    description: 'What it was made from; null = from none.',
  }),
  created_at: Type.String({ format: 'date-time', description: 'When it was made.' }),
})
export type WorkspaceView = Static<typeof WorkspaceView>
export const WorkspacePage = Page(WorkspaceView)

export const DeletionBody = Type.Object(
  {
    confirm: Type.String({
      maxLength: 100,
      description: 'The slug of the workspace, so that it is the right one.',
    }),
    grace_days: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 30,
        default: 7,
        description: 'So long it can be restored; its data goes afterwards. Never less than two minutes.',
      }),
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const TemplateView = Type.Object({
  name: Type.String({ description: 'What `template` of a new workspace says.' }),
  description: Type.String({ description: 'What it is for.' }),
  standard: Type.Boolean({ description: 'Whether it is taken when none is named.' }),
  notes: Type.Array(Type.String(), { description: 'For whoever runs the workspace.' }),
  policies: Type.Union([Type.Record(Type.String(), PolicyDocument), Type.Null()], {
    description: 'The policies of version 1 of the config; null = it begins without a config.',
  }),
  quotas: Type.Record(Type.String(), Type.Integer(), { description: 'Every quota with its limit.' }),
})
export type TemplateView = Static<typeof TemplateView>
export const TemplateList = Type.Object({
  data: Type.Array(TemplateView, { description: 'Those of this environment.' }),
})

const MAXIMA: Partial<Record<Quota, number>> = QUOTA_MAXIMA

const most = (quota: Quota) =>
  Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: MAXIMA[quota] ?? 10_000_000,
      description: `The most ${quota.replaceAll('_', ' ')}; ${DEFAULT_QUOTAS[quota]} unless set.`,
    }),
  )

/** `null` would be no limit: there is none, since everything of a workspace costs its neighbours something. */
export const QuotasBody = Type.Object(
  {
    quotas: Type.Object(
      {
        connectors: most('connectors'),
        webhook_routes: most('webhook_routes'),
        secret_refs: most('secret_refs'),
        service_identities: most('service_identities'),
        config_versions: most('config_versions'),
        members: most('members'),
        jobs_waiting: most('jobs_waiting'),
      },
      {
        additionalProperties: false,
        minProperties: 1,
        description: 'The limits to set; those that are absent stay.',
      },
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)
export const QuotasView = Type.Object({
  data: Type.Array(
    Type.Object({
      quota: Type.Enum(QUOTAS, { description: 'What has a limit.' }),
      limit: Type.Integer({ description: 'The most there may be.' }),
      used: Type.Integer({ description: 'What there is; jobs are counted little further than the limit.' }),
    }),
    { description: 'Every quota.' },
  ),
})
