import { ownCall } from '../../platform/call-context.ts'
import type { Platform } from '../../platform/platform.ts'
import { type RepeatedWork, repeatedWork } from '../../platform/repeated-work.ts'
import {
  finishRelease,
  listLeftBehind,
  type ReleaseDeps,
  type RowKey,
  removeExpired,
  usedRoom,
} from './quarantine.ts'

const EVERY_MS = 60_000
/** Each may hold megabytes: a step is over in a moment. */
const BATCH = 200
/** Of what is left on its way: one that cannot be brought comes again in the next round. */
const BROUGHT = 50

/**
 * Removes what was kept for long enough, brings what was left on its way, and tells how much is in. Any number of
 * workers may do it at once.
 */
export function createQuarantineCare(
  { db, log, clock, metrics }: Pick<Platform, 'db' | 'log' | 'clock' | 'metrics'>,
  { routes, acceptEvents }: Pick<ReleaseDeps, 'routes' | 'acceptEvents'>,
): RepeatedWork {
  const labels = ['share'] as const
  const rows = metrics.gauge('webhook_quarantine_rows', 'Refused webhooks in quarantine', labels)
  const bytes = metrics.gauge('webhook_quarantine_bytes', 'Room that the quarantine takes, in bytes', labels)
  const expired = metrics.counter('webhook_quarantine_expired_total', 'Entries whose time was over', [
    'provider',
    'state',
  ])

  const bring = async (key: RowKey): Promise<void> => {
    const change = { actor: 'hub', reason: 'Its release was not finished.', call: ownCall() }
    try {
      await finishRelease({ db, routes, acceptEvents }, key, change)
    } catch (err) {
      log.warn({ err, tenant_id: key.tenantId, quarantine_id: key.id }, 'a release could not be finished')
    }
  }

  const sweep = async (stopping: AbortSignal): Promise<void> => {
    for (const key of await listLeftBehind(db, { limit: BROUGHT })) {
      if (stopping.aborted) return
      await bring(key)
    }
    let gone = BATCH
    while (gone === BATCH && !stopping.aborted) {
      gone = 0
      for (const { provider, state, rows: count } of await removeExpired(db, { limit: BATCH })) {
        expired.inc({ provider, state }, count)
        gone += count
      }
    }
    for (const used of await usedRoom(db, {})) {
      const label = { share: used.share }
      rows.set(label, used.rows)
      bytes.set(label, used.bytes)
    }
  }
  return repeatedWork({
    clock,
    everyMs: EVERY_MS,
    work: sweep,
    failed: (err) => log.warn({ err }, 'the quarantine could not be swept; tried again in a minute'),
  })
}
