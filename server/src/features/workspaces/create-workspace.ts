import { violatesUnique } from '../../platform/db/failures.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import type { PolicyDocument } from '../policies/policies.ts'
import { requireNoNeighbour, requireSlug } from './naming.ts'
import { templateOf, type WorkspaceTemplate } from './templates.ts'
import { toWorkspace, type Workspace, type WorkspaceDeps } from './workspace.ts'
import { insertWorkspace } from './workspaces.sql.ts'

/** Stores and activates version 1 in the transaction of the creation: the configs feature, handed in by the process. */
export type FirstConfig = (
  tx: Tx,
  tenantId: string,
  document: { readonly policies: Record<string, PolicyDocument>; readonly connectors: Record<string, never> },
  change: Change,
) => Promise<void>

export interface NewWorkspace {
  readonly slug: string
  readonly name: string
  /** Made by the hub for itself: only then it may have a slug that the hub keeps. */
  readonly ofTheHub?: boolean
}

/** A template, and who stores its config. */
export interface Beginning {
  /** Absent = the standard one of the environment. */
  readonly template?: string | undefined
  readonly firstConfig: FirstConfig
}

/**
 * Creates a workspace; without `beginning` it has no config and the default quotas. Errors: `validation_error` for the
 * slug or the template, `conflict` when the slug is taken, also by a deleted workspace.
 */
export async function createWorkspace(
  { db, environment }: WorkspaceDeps,
  { slug, name, ofTheHub = false }: NewWorkspace,
  change: Change,
  beginning?: Beginning,
): Promise<Workspace> {
  requireSlug(slug, environment)
  if (!ofTheHub) requireNoNeighbour(slug)
  const template: WorkspaceTemplate | undefined = beginning && templateOf(environment, beginning.template)
  const id = newId()
  const facts = {
    id,
    slug,
    name,
    environment,
    template: template?.name ?? null,
    quotas: template?.quotas ?? {},
  }
  try {
    return await db.transaction(async (tx) => {
      const row = await insertWorkspace(tx, facts)
      await recordAudit(tx, {
        ...change,
        tenantId: id,
        action: 'workspace.created',
        object: `workspace:${slug}`,
        diff: [{ path: '', after: facts }],
      })
      if (template?.policies)
        await beginning?.firstConfig(tx, id, { policies: { ...template.policies }, connectors: {} }, change)
      return toWorkspace(row)
    })
  } catch (error) {
    if (violatesUnique(error, 'workspace_slug_key'))
      throw new Problem('conflict', 'The slug is taken by another workspace.')
    throw error
  }
}
