/**
 * The door of the bundles feature: everything that makes a workspace behave as it does, as one JSON document.
 *
 * Invariants. A bundle holds no secret values and no ids. An import does exactly the plan that was seen, or nothing:
 * all of it commits in one transaction, under the lock of the workspace. Importing what is there already writes
 * nothing. What was exported and imported gives the same config, refs and routes.
 */
import { Problem } from '../../problems.ts'
import { lockWorkspace } from '../workspaces/workspaces.ts'
import type { BundleDeps } from './bundle-deps.ts'
import { BUNDLE_FORMAT, type Bundle } from './bundles.schema.ts'
import { readState } from './workspace-state.ts'

export type { BundleDeps, BundleSecrets } from './bundle-deps.ts'
export { Bundle, bundleJsonSchema, Imported, Plan } from './bundles.schema.ts'
export { importBundle } from './import-bundle.ts'
export { planImport } from './plan-import.ts'
export { secretPlaces } from './secret-places.ts'

/** The workspace as it is at one moment. Everything in it is in a fixed order. */
export async function exportBundle(deps: BundleDeps, tenantId: string): Promise<Bundle> {
  const workspace = await deps.workspaces.find(tenantId)
  if (!workspace) throw new Problem('not_found', 'There is no such workspace.')
  const state = await deps.db.transaction(async (tx) => {
    await lockWorkspace(tx, { id: tenantId })
    return readState(deps, tx, tenantId)
  })
  return {
    format: BUNDLE_FORMAT,
    exported_at: new Date(deps.clock.now()).toISOString(),
    workspace: { slug: workspace.slug, environment: workspace.environment },
    config: state.document,
    secret_refs: state.secretRefs.map(({ name, ref }) => ({ name, ref })),
    webhook_routes: [...state.routes],
  }
}
