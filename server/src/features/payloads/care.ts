import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { takesLead } from '../../queue/leader.ts'
import { eraseObjects } from './erase-objects.ts'
import { moveSpooled } from './move-spooled.ts'
import { countErasures, dropAbandoned, measureSpool } from './payload-care.sql.ts'
import type { PayloadStores } from './payload-deps.ts'
import { sweepObjects, sweepRows } from './sweep.ts'

export const SWEEP_EVERY_MS = 3_600_000
/** Longer than the pause between two sweeps: the leader of the last one is that of the next. */
const LEAD_MS = 2 * SWEEP_EVERY_MS
/** Whoever asked the spool to keep something has long failed. */
const ABANDONED_MS = 3_600_000

type Round = (stopping: AbortSignal) => Promise<void>

/** What is done about payloads that nobody waits for, a round at a time. Any number of workers may. */
export interface PayloadCare {
  /** Spooled bodies go to their store. */
  readonly move: Round
  /** Objects are deleted whose rows have gone. */
  readonly erase: Round
  /** What nothing refers to is forgotten; one worker does it for all. */
  readonly sweep: Round
}

export function createPayloadRounds(
  { db, log, metrics }: Pick<Platform, 'db' | 'log' | 'metrics'>,
  stores: PayloadStores,
): PayloadCare {
  const spoolBytes = metrics.gauge('payload_spool_bytes', 'Bytes that wait for the payload store')
  const spoolBodies = metrics.gauge('payload_spool_bodies', 'Bodies that wait for the payload store')
  const toErase = metrics.gauge(
    'payload_objects_to_delete',
    'Objects whose rows have gone and that are still there',
  )
  const moved = metrics.counter(
    'payload_spool_moved_total',
    'Spooled bodies that have reached the payload store',
  )
  const deleted = metrics.counter('payload_objects_deleted_total', 'Objects deleted from the payload store', [
    'why',
  ])
  const swept = metrics.counter(
    'payload_rows_swept_total',
    'Payloads forgotten because nothing refers to them',
  )
  const owner = newId()
  const deps = { db, log, stores }

  return {
    move: async (stopping) => {
      moved.inc(await moveSpooled(deps, stopping))
      const { bytes, bodies } = await measureSpool(db, undefined)
      spoolBytes.set(bytes)
      spoolBodies.set(bodies)
    },
    erase: async (stopping) => {
      deleted.inc({ why: 'erased' }, await eraseObjects(deps, stopping))
      toErase.set((await countErasures(db, undefined)).due)
    },
    sweep: async (stopping) => {
      if (!(await takesLead(db, { name: 'payloads', owner, ttlMs: LEAD_MS }))) return
      await dropAbandoned(db, { afterMs: ABANDONED_MS })
      swept.inc(await sweepRows(deps, stopping))
      deleted.inc({ why: 'orphan' }, await sweepObjects(deps, stopping))
    },
  }
}
