import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Change } from '../audit/audit.ts'
import { createWorkspace, listWorkspaces, setWorkspaceStatus } from '../workspaces/workspaces.ts'
import { type PlaneClient, planeClient } from './plane-client.ts'
import { endRunIdentities, makeRunIdentity, takeToken } from './run-identity.ts'
import { addNeighbourObjects } from './stage-objects.ts'

/**
 * Another workspace, against which isolation is checked: one for the whole hub, which belongs to no product, is
 * suspended between runs and has nothing in it but a connector to the target.
 */
export interface Neighbour {
  readonly slug: string
  readonly control: PlaneClient
  readonly exec: PlaneClient
}

export interface NeighbourDeps {
  readonly db: Db
  readonly environment: 'dev' | 'prod'
  readonly urls: { readonly control: string; readonly exec: string }
}

export const neighbourSlug = (environment: 'dev' | 'prod'): string => `onboarding-neighbour-${environment}`

async function findNeighbour(on: Queryable, environment: 'dev' | 'prod') {
  let beforeId: string | undefined
  for (;;) {
    const page = await listWorkspaces(on, { environment, onlyId: null, beforeId, limit: 200 })
    const found = page.find(({ slug }) => slug === neighbourSlug(environment))
    if (found || page.length < 200) return found
    beforeId = page.at(-1)?.id
  }
}

/** Makes it the first time, wakes it afterwards, and signs on to it. `leave` puts it to sleep again. */
export async function enterNeighbour(
  deps: NeighbourDeps,
  of: {
    readonly change: Change
    readonly reason: string
    readonly baseUrl: string
    readonly signal: AbortSignal
  },
): Promise<Neighbour & { leave(): Promise<void> }> {
  const { db, environment, urls } = deps
  const { change, signal } = of
  const slug = neighbourSlug(environment)
  const known = await findNeighbour(db, environment)
  const workspace =
    known ?? (await createWorkspace(deps, { slug, name: 'Neighbour for onboarding checks' }, change))
  const { id } = workspace
  if (workspace.status === 'suspended') await setWorkspaceStatus(deps, { id, status: 'active' }, change)
  const leave = async (): Promise<void> => {
    await endRunIdentities(db, { tenantId: id, change })
    await setWorkspaceStatus(deps, { id, status: 'suspended' }, change)
  }
  try {
    const identity = await makeRunIdentity(db, { tenantId: id, change })
    const clientOf = (name: 'control' | 'exec', token: string | null) =>
      planeClient({ name, url: urls[name], token, signal })
    const signOn = async (name: 'control' | 'exec') =>
      clientOf(name, await takeToken(clientOf(name, null), identity))
    const control = await signOn('control')
    await addNeighbourObjects(control, of.baseUrl, of.reason)
    return { slug, control, exec: await signOn('exec'), leave }
  } catch (error) {
    await leave()
    throw error
  }
}
