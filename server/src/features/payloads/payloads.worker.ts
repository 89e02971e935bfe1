import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { type RepeatedWork, repeatedWork } from '../../platform/repeated-work.ts'
import { takesLead } from '../../queue/leader.ts'
import { eraseObjects } from './erase-objects.ts'
import { moveSpooled } from './move-spooled.ts'
import { countErasures, dropAbandoned, measureSpool } from './payload-care.sql.ts'
import type { PayloadStores } from './payload-deps.ts'
import { sweepObjects, sweepRows } from './sweep.ts'

const MOVE_EVERY_MS = 5_000
const ERASE_EVERY_MS = 10_000
const SWEEP_EVERY_MS = 3_600_000
/** Longer than a sweep's pause: the leader of the last one is that of the next. */
const LEAD_MS = 2 * SWEEP_EVERY_MS
/** Whoever asked the spool to keep something has long failed. */
const ABANDONED_MS = 3_600_000

export interface PayloadCare extends RepeatedWork {
  /** One round of each, now. */
  readonly rounds: Readonly<Record<'move' | 'erase' | 'sweep', (stopping: AbortSignal) => Promise<unknown>>>
}

/** Moves spooled bodies into their store, deletes objects whose rows have gone, and looks for what nothing refers to. */
export function createPayloadCare(
  platform: Pick<Platform, 'db' | 'clock' | 'log' | 'metrics'>,
  stores: PayloadStores,
): PayloadCare {
  const { db, clock, log, metrics } = platform
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

  const rounds: PayloadCare['rounds'] = {
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
  const every = (everyMs: number, name: keyof typeof rounds): RepeatedWork =>
    repeatedWork({
      clock,
      everyMs,
      work: rounds[name],
      failed: (err) =>
        log.warn({ err, round: name }, 'a round of care for payloads failed; it is tried again'),
    })
  const works = [every(MOVE_EVERY_MS, 'move'), every(ERASE_EVERY_MS, 'erase'), every(SWEEP_EVERY_MS, 'sweep')]
  return {
    rounds,
    start: () => {
      for (const work of works) work.start()
    },
    stop: async () => {
      await Promise.all(works.map((work) => work.stop()))
    },
  }
}
