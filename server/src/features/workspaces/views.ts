import type { TemplateView, WorkspaceView } from './workspaces.schema.ts'
import {
  DEFAULT_QUOTAS,
  type Environment,
  standardTemplate,
  type Workspace,
  type WorkspaceTemplate,
} from './workspaces.ts'

export const view = (workspace: Workspace): WorkspaceView => {
  const { id, slug, name, environment, status, template, statusChange, createdAt, deleteAfter } = workspace
  return {
    ...{ id, slug, name, environment, status, template },
    status_change: statusChange && { ...statusChange, since: statusChange.since.toISOString() },
    delete_after: deleteAfter?.toISOString() ?? null,
    created_at: createdAt.toISOString(),
  }
}

export const templateView = (template: WorkspaceTemplate, environment: Environment): TemplateView => ({
  name: template.name,
  description: template.description,
  standard: template.name === standardTemplate(environment),
  notes: [...template.notes],
  policies: template.policies && { ...template.policies },
  quotas: { ...DEFAULT_QUOTAS, ...template.quotas },
})
