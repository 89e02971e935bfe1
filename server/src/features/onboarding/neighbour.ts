import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import type { Change } from '../audit/audit.ts'
import { isNeighbourSlug, neighbourSlug } from '../reserved-names/reserved-names.ts'
import {
  createWorkspace,
  listWorkspaces,
  setWorkspaceStatus,
  type Workspace,
} from '../workspaces/workspaces.ts'
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

/** More of them were deleted than anybody deletes. */
const MOST = 50

/** The neighbour that lives, or undefined. One that goes away is none. */
export async function findNeighbour(
  on: Queryable,
  environment: 'dev' | 'prod',
): Promise<Workspace | undefined> {
  let beforeId: string | undefined
  for (;;) {
    const page = await listWorkspaces(on, { environment, onlyId: null, beforeId, limit: 200 })
    const found = page.find(
      ({ slug, status }) => isNeighbourSlug(slug) && (status === 'active' || status === 'suspended'),
    )
    if (found || page.length < 200) return found
    beforeId = page.at(-1)?.id
  }
}

/** A slug is never free again: where a former neighbour was deleted, the next one has a number. */
async function makeNeighbour(deps: NeighbourDeps, change: Change): Promise<Workspace> {
  const name = 'Neighbour for onboarding checks'
  for (let number = 1; ; number += 1) {
    const slug = neighbourSlug(deps.environment, number)
    try {
      return await createWorkspace(deps, { slug, name, ofTheHub: true }, change)
    } catch (error) {
      if (!(error instanceof Problem && error.code === 'conflict') || number === MOST) throw error
    }
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
    /** Whether the run has the neighbour still. */
    holds(): Promise<boolean>
  },
): Promise<Neighbour & { leave(): Promise<void> }> {
  const { db, environment, urls } = deps
  const { change, signal } = of
  const workspace = (await findNeighbour(db, environment)) ?? (await makeNeighbour(deps, change))
  const { id, slug } = workspace
  if (workspace.status === 'suspended') await setWorkspaceStatus(deps, { id, status: 'active' }, change)
  let only: string | undefined
  const leave = async (): Promise<void> => {
    if (only !== undefined) await endRunIdentities(db, { tenantId: id, change, only })
    // A run that was taken for dead has lost the neighbour to another one.
    if (await of.holds()) await setWorkspaceStatus(deps, { id, status: 'suspended' }, change)
  }
  try {
    const identity = await makeRunIdentity(db, { tenantId: id, change })
    only = identity.id
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

/** Puts a neighbour that a dead run has left awake to sleep again. */
export async function settleNeighbour(
  deps: Pick<NeighbourDeps, 'db' | 'environment'>,
  change: Change,
): Promise<void> {
  const found = await findNeighbour(deps.db, deps.environment)
  if (found?.status !== 'active') return
  await endRunIdentities(deps.db, { tenantId: found.id, change })
  await setWorkspaceStatus(deps, { id: found.id, status: 'suspended' }, change)
}
