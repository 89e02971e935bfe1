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
  id: Type.String({ format: 'uuid', description: 'Id of the workspace: `tid` of its tokens.' }),
  slug: Type.String({ description: 'Short name that never changes.' }),
  name: Type.String({ description: 'Name for people.' }),
  environment: Type.Enum(['dev', 'prod'], { description: 'The environment that its slug ends in.' }),
  status: Type.Enum(['active', 'suspended'], { description: 'Every call of a suspended one is refused.' }),
  created_at: Type.String({ format: 'date-time', description: 'When it was made.' }),
})
export type WorkspaceView = Static<typeof WorkspaceView>
export const WorkspacePage = Page(WorkspaceView)
