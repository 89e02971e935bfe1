import { type ObjectStore, StoreFailure } from '../../platform/storage/object-store.ts'
import type { CareDeps } from './move-spooled.ts'
import { dayPrefix, hubId, ownerOfKey } from './object-key.ts'
import { daysToSweep, dropOwnerless, endDay, findKnown } from './payload-care.sql.ts'

const ROWS_PER_STEP = 500
const NIL = '00000000-0000-0000-0000-000000000000'
/** What is younger may belong to a transaction that has not ended. */
const OLDER_THAN_MS = 86_400_000
/** A hub that stood still for longer leaves some objects behind. */
const DAYS = 30
const TIMEOUT_MS = 10_000

/** Forgets payloads that nothing refers to any more, all of them in small steps; how many it were. */
export async function sweepRows({ db }: CareDeps, stopping: AbortSignal): Promise<number> {
  let gone = 0
  let after = { tenantId: NIL, id: NIL }
  while (!stopping.aborted) {
    const step = await dropOwnerless(db, { after, limit: ROWS_PER_STEP, olderThanMs: OLDER_THAN_MS })
    gone += step.gone
    if (step.tenant_id === null || step.id === null) break
    after = { tenantId: step.tenant_id, id: step.id }
  }
  return gone
}

/** Deletes objects that never got a row: their process has died in between. Each day is looked through once. */
export async function sweepObjects(deps: CareDeps, stopping: AbortSignal): Promise<number> {
  let deleted = 0
  for (const store of deps.stores.byName.values())
    try {
      // A store that was never used is there from now on, and one that is away looks empty to nobody.
      await store.check({ timeoutMs: TIMEOUT_MS })
      for (const { day } of await daysToSweep(deps.db, { store: store.name, days: DAYS })) {
        deleted += await sweepDay(deps, store, day, stopping)
        if (stopping.aborted) return deleted
        await endDay(deps.db, { store: store.name, day, days: DAYS })
      }
    } catch (error) {
      if (!(error instanceof StoreFailure)) throw error
      deps.log.warn({ err: error, store: store.name }, 'the payload store could not be looked through')
    }
  return deleted
}

async function sweepDay(
  { db, log }: CareDeps,
  store: ObjectStore,
  day: string,
  stopping: AbortSignal,
): Promise<number> {
  const prefix = dayPrefix(await hubId(db), day)
  let deleted = 0
  let after: string | undefined
  while (!stopping.aborted) {
    const keys = await store.list(prefix, { after, limit: ROWS_PER_STEP, timeoutMs: TIMEOUT_MS })
    // A key that we have not made is none of our business.
    const ours = keys.flatMap((key) => {
      const owner = ownerOfKey(key)
      return owner ? [{ key, ...owner }] : []
    })
    const known = new Set((await findKnown(db, { of: ours })).map(({ id }) => id))
    for (const { key, id } of ours) {
      if (known.has(id)) continue
      await store.delete(key, { timeoutMs: TIMEOUT_MS })
      deleted += 1
    }
    after = keys.at(-1)
    if (keys.length < ROWS_PER_STEP) break
  }
  if (deleted > 0) log.info({ day, store: store.name, deleted }, 'objects that never got a row were deleted')
  return deleted
}
