import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { SLUG_MAX_LENGTH, SLUG_PATTERN } from './workspaces.ts'

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
    reason: Reason,
  },
  { additionalProperties: false },
)

export const WorkspaceParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the workspace.' }),
})
export const StatusBody = Type.Object({ reason: Reason }, { additionalProperties: false })
export const WorkspacesQuery = Type.Object(PageQuery, { additionalProperties: false })

export const WorkspaceView = Type.Object({
  id: Type.String({ format: 'uuid' }),
  slug: Type.String(),
  name: Type.String(),
  environment: Type.Enum(['dev', 'prod']),
  status: Type.Enum(['active', 'suspended']),
  created_at: Type.String({ format: 'date-time' }),
})
export type WorkspaceView = Static<typeof WorkspaceView>
export const WorkspacePage = Page(WorkspaceView)
