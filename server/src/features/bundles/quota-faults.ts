import type { Queryable } from '../../platform/db/statement.ts'
import type { ProblemDetail } from '../../problems.ts'
import { differences, quotaFaultsOf } from '../configs/configs.ts'
import { quotaFault } from '../workspaces/workspaces.ts'
import type { Change } from './bundles.schema.ts'
import type { CurrentState, WorkspaceState } from './workspace-state.ts'

const AT = '/body/bundle'

/** Every quota that the import would meet, counted as the import does its steps. */
export async function quotaFaults(
  on: Queryable,
  tenantId: string,
  before: CurrentState,
  after: WorkspaceState,
  changes: readonly Change[],
): Promise<ProblemDetail[]> {
  const count = (object: Change['object'], action: Change['action']): number =>
    changes.filter((each) => each.object === object && each.action === action).length
  const faults: ProblemDetail[] = []
  if (before.version === 0 || differences(before.document, after.document).length > 0)
    for (const { path, message } of await quotaFaultsOf(on, tenantId, after.document, { stored: false }))
      faults.push({ path: `${AT}/config${path}`, message })
  // Refs that go are deleted last, when nothing uses them any more: until then they take room.
  const refs = count('secret_ref', 'create')
  // Routes that go or change are deleted first; each that is made asks for room of its own.
  const made = count('webhook_route', 'create') + count('webhook_route', 'change')
  const gone = count('webhook_route', 'remove') + count('webhook_route', 'change')
  for (const [path, quota, adding, freed] of [
    ['secret_refs', 'secret_refs', refs, 0],
    ['webhook_routes', 'webhook_routes', made, gone],
  ] as const) {
    const why = adding === 0 ? undefined : await quotaFault(on, { tenantId, quota, adding, freed })
    if (why !== undefined) faults.push({ path: `${AT}/${path}`, message: `are too many: ${why}` })
  }
  return faults
}
