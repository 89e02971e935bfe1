import type { Clock } from '../../platform/clock.ts'
import { failPoint } from '../../platform/fail-points.ts'
import { type ObjectStore, StoreFailure } from '../../platform/storage/object-store.ts'
import { Problem } from '../../problems.ts'
import type { KeptPayload } from './payload.ts'
import type { PayloadDeps } from './payload-deps.ts'
import { spoolPayload } from './payloads.sql.ts'

/** Somebody waits for the answer, and the spool is there. */
const PUT_TIMEOUT_MS = 4_000
/** After a failure the store is left alone for so long, each time twice as long as the time before. */
const FIRST_PAUSE_MS = 2_000
const LAST_PAUSE_MS = 30_000
/** A spool that was full is asked again after this time. */
const FULL_FOR_MS = 1_000

export interface BytesKeeper {
  /** Into the store, or into the spool. Errors: `payload_store_unavailable`, `database_unavailable`. */
  keep(payload: KeptPayload, bytes: Buffer): Promise<void>
  readTold(result: 'ok' | 'damaged' | 'unavailable'): void
}

export function createBytesKeeper({
  platform: { db, clock, log, metrics },
  stores,
  spoolLimitBytes,
}: Pick<PayloadDeps, 'platform' | 'stores' | 'spoolLimitBytes'>): BytesKeeper {
  const kept = metrics.counter('payloads_kept_total', 'Large bodies that were kept, or could not be', [
    'where',
  ])
  const reads = metrics.counter('payload_reads_total', 'Payloads that were read', ['result'])
  const store = requireStore(stores)
  const rest = createRest(clock)
  let fullUntil = Number.NEGATIVE_INFINITY

  const put = async (payload: KeptPayload, bytes: Buffer): Promise<boolean> => {
    if (!rest.mayTry()) return false
    try {
      await store.put(payload.objectKey, bytes, {
        contentType: 'application/octet-stream',
        timeoutMs: PUT_TIMEOUT_MS,
      })
      if (rest.over()) log.info({ store: store.name }, 'the payload store is back')
      return true
    } catch (error) {
      const wasWell = rest.begin()
      if (!(error instanceof StoreFailure)) throw error
      if (wasWell)
        log.error({ err: error, store: store.name }, 'the payload store is away: bodies are spooled')
      return false
    }
  }

  const spool = async ({ tenantId, id }: KeptPayload, bytes: Buffer): Promise<void> => {
    if (clock.monotonic() < fullUntil) throw full()
    const answer = await spoolPayload(db, { tenantId, id, body: bytes, limit: spoolLimitBytes })
    if (answer.kept) return
    // A body that is larger than what is left says nothing about smaller ones.
    if (answer.total + bytes.length / 2 > spoolLimitBytes) fullUntil = clock.monotonic() + FULL_FOR_MS
    throw full()
  }

  return {
    keep: async (payload, bytes) => {
      try {
        if (await put(payload, bytes)) kept.inc({ where: 'store' })
        else {
          await spool(payload, bytes)
          kept.inc({ where: 'spool' })
        }
      } catch (error) {
        kept.inc({ where: 'nowhere' })
        throw error
      }
      failPoint('payloads.after_keep')
    },
    readTold: (result) => reads.inc({ result }),
  }
}

function requireStore({ current, byName }: PayloadDeps['stores']): ObjectStore {
  const store = byName.get(current)
  if (!store) throw new Error(`there is no payload store ${current}`)
  return store
}

const full = (): Problem =>
  new Problem(
    'payload_store_unavailable',
    'The payload store is away and what waits for it has no room left; nothing was stored.',
    { retryAfterSeconds: 30 },
  )

/** A breaker for one store and its many callers: after a failure one of them at a time tries again, the others do not wait. */
function createRest(clock: Pick<Clock, 'monotonic'>) {
  let pauseMs = 0
  let until = 0
  let trying = false
  return {
    mayTry: (): boolean => {
      if (pauseMs === 0) return true
      if (trying || clock.monotonic() < until) return false
      trying = true
      return true
    },
    /** True when it was resting before. */
    over: (): boolean => {
      const rested = pauseMs > 0
      pauseMs = 0
      trying = false
      return rested
    },
    /** True when it was well before. */
    begin: (): boolean => {
      const well = pauseMs === 0
      // Those that began together with the first to fail are not a second failure.
      if (well || trying) pauseMs = Math.min(LAST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * pauseMs))
      until = clock.monotonic() + pauseMs
      trying = false
      return well
    },
  }
}
