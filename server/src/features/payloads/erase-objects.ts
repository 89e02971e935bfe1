import { StoreFailure } from '../../platform/storage/object-store.ts'
import type { CareDeps } from './move-spooled.ts'
import { endErasures, takeErasures } from './payload-care.sql.ts'

const BATCH = 100
const DELETE_TIMEOUT_MS = 5_000

/** Deletes the objects whose rows have gone, until none is due or their store fails; how many it were. */
export async function eraseObjects({ db, log, stores }: CareDeps, stopping: AbortSignal): Promise<number> {
  let deleted = 0
  const reachable = new Map(stores.byName)
  while (!stopping.aborted && reachable.size > 0) {
    const due = await takeErasures(db, { stores: [...reachable.keys()], limit: BATCH })
    for (const [name, store] of reachable) {
      const gone: string[] = []
      try {
        for (const { object_key } of due.filter((each) => each.store === name)) {
          if (stopping.aborted) break
          await store.delete(object_key, { timeoutMs: DELETE_TIMEOUT_MS })
          gone.push(object_key)
        }
      } catch (error) {
        if (!(error instanceof StoreFailure)) throw error
        log.warn({ err: error, store: name }, 'objects could not be deleted; they are tried again later')
        reachable.delete(name)
      }
      if (gone.length > 0) await endErasures(db, { store: name, keys: gone })
      deleted += gone.length
    }
    if (due.length < BATCH) break
  }
  return deleted
}
