import type { Db } from '../../platform/db/db.ts'
import type { Log } from '../../platform/log.ts'
import { type ObjectStore, StoreFailure } from '../../platform/storage/object-store.ts'
import { leaveSpool, takeSpooled } from './payload-care.sql.ts'
import type { PayloadStores } from './payload-deps.ts'

/** Below the time after which the database ends a transaction that asks nothing of it. */
const PUT_TIMEOUT_MS = 8_000
/** One that the store refuses holds up no other; a store that refuses several is away. */
const MAX_FAILURES = 3

export interface CareDeps {
  readonly db: Db
  readonly log: Log
  readonly stores: PayloadStores
}

/** Moves what waits in the spool, oldest first, until nothing is left or the store fails; how many it were. */
export async function moveSpooled({ db, log, stores }: CareDeps, stopping: AbortSignal): Promise<number> {
  let moved = 0
  for (const store of stores.byName.values()) {
    const refused: string[] = []
    while (!stopping.aborted && refused.length < MAX_FAILURES) {
      const result = await moveOne(db, store, refused)
      if (result === 'none') break
      if (result === 'moved') moved += 1
      else {
        refused.push(result.id)
        log.warn({ err: result.error, store: store.name }, 'a spooled body could not be moved')
      }
    }
  }
  return moved
}

/** In one transaction with the row locked: put again after a crash, it is the same object with the same bytes. */
const moveOne = (
  db: Db,
  store: ObjectStore,
  not: readonly string[],
): Promise<'none' | 'moved' | { readonly id: string; readonly error: unknown }> =>
  db.transaction(async (tx) => {
    const row = await takeSpooled(tx, { store: store.name, not })
    if (!row) return 'none'
    try {
      await store.put(row.object_key, row.body, {
        contentType: 'application/octet-stream',
        timeoutMs: PUT_TIMEOUT_MS,
      })
    } catch (error) {
      if (error instanceof StoreFailure) return { id: row.id, error }
      throw error
    }
    await leaveSpool(tx, { tenantId: row.tenant_id, id: row.id })
    return 'moved'
  })
