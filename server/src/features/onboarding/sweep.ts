import { ownCall } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import type { Log } from '../../platform/log.ts'
import type { Change } from '../audit/audit.ts'
import { settleNeighbour } from './neighbour.ts'
import * as sql from './onboarding.sql.ts'
import { planeClient } from './plane-client.ts'
import { removeStageObjects } from './remove-objects.ts'
import { endRunIdentities, makeRunIdentity, takeToken } from './run-identity.ts'

export interface SweepDeps {
  readonly db: Db
  readonly log: Log
  readonly environment: 'dev' | 'prod'
  readonly urls: { readonly control: string }
}

/** A run that has been silent for so long has died with its process. */
export const SILENT_MS = 60_000
/** What cannot be taken away in so many tries waits for the next verification, which says why. */
const MOST_SWEEPS = 10
const AGAIN_MS = 30_000
/** Shorter than the silence of the dead: nobody else takes it for one. */
const LONGEST_MS = 45_000

/**
 * Takes away what runs have left whose process died, or that could not do it themselves: temporary objects, the
 * service identity, a neighbour that is awake. Of several control processes each run has one. Gives how many were cleared.
 */
export async function sweepLeftRuns(deps: SweepDeps, signal: AbortSignal): Promise<number> {
  const { db, log, environment } = deps
  await sql.breakOffSilent(db, { tenantId: null, silentMs: SILENT_MS })
  await sql.breakOffSweeps(db, { silentMs: SILENT_MS })
  for (let done = 0; ; done += 1) {
    const left = signal.aborted ? undefined : await claim(db, environment)
    if (!left) return done
    const key = { tenantId: left.tenant_id, id: left.id }
    const cleared = await clearUp(deps, key, AbortSignal.any([signal, AbortSignal.timeout(LONGEST_MS)])).then(
      () => true,
      (err: unknown) => {
        log.warn({ err, run: left.id, workspace: left.slug }, 'a verification has left things behind')
        return false
      },
    )
    await sql.endSweep(db, { ...key, cleared })
    if (cleared)
      log.info({ run: left.id, workspace: left.slug }, 'what a verification had left was taken away')
  }
}

async function claim(db: Db, environment: string): Promise<sql.LeftRow | undefined> {
  try {
    return await sql.claimSweep(db, { environment, mostSweeps: MOST_SWEEPS, againMs: AGAIN_MS })
  } catch (error) {
    // A run has begun in this moment, which clears up itself.
    if (violatesUnique(error, 'onboarding_run_one_at_a_time')) return undefined
    throw error
  }
}

async function clearUp(
  { db, environment, urls }: SweepDeps,
  key: { readonly tenantId: string; readonly id: string },
  signal: AbortSignal,
): Promise<void> {
  const { tenantId, id } = key
  const reason = `clear up after the verification ${id}`
  const change: Change = { actor: 'system:control', reason, call: ownCall() }
  // First: whoever has its secret from the memory of the dead process can do nothing more with it.
  const identity = await makeRunIdentity(db, { tenantId, change })
  try {
    const clientOf = (token: string | null) =>
      planeClient({ name: 'control', url: urls.control, token, signal })
    const control = clientOf(await takeToken(clientOf(null), identity))
    await removeStageObjects(control, { reason })
    await settle(db, environment, key, change)
  } finally {
    await endRunIdentities(db, { tenantId, change })
  }
}

/** Whoever has the neighbour now puts it to sleep at its end. */
async function settle(
  db: Db,
  environment: 'dev' | 'prod',
  key: { readonly tenantId: string; readonly id: string },
  change: Change,
): Promise<void> {
  try {
    await sql.takeNeighbour(db, key)
  } catch (error) {
    if (violatesUnique(error, 'onboarding_run_one_neighbour')) return
    throw error
  }
  await settleNeighbour({ db, environment }, change)
}
