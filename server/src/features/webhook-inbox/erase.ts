import type { CallContext } from '../../platform/call-context.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { cancelJobIn } from '../../queue/cancel.ts'
import { purgeLetters } from '../../queue/dead-letters.ts'
import { eraseJobContents } from '../../queue/inbox-jobs.ts'
import { type LaneKey, queueName } from '../../queue/job.ts'
import { INBOX_INPUT } from '../webhooks/webhooks.ts'
import { endWaiting, erasePayloads, leaveLines } from './erase.sql.ts'
import { findByIds, type InboxRow, lockInbox } from './inbox.sql.ts'
import { type InboxItem, withStatus } from './status.ts'
import { jobsOfInbox } from './timeline.ts'

/** What of an erased event may be elsewhere in the quarantine. */
export interface ErasedEvents {
  readonly tenantId: string
  readonly eventIds: readonly string[]
  /** Of the bytes: the same request may also be kept as nobody's. */
  readonly sha256: readonly Buffer[]
  readonly actor: string
  readonly why: string
}

export interface EraseDeps {
  /** Of the payload store: the objects go after the commit. */
  readonly erasePayloads: (tx: Tx, tenantId: string, ids: readonly string[]) => Promise<void>
  /** Removes the bytes of these events from the quarantine; gives how many requests it were. */
  readonly eraseQuarantined: (tx: Tx, erased: ErasedEvents) => Promise<number>
}

export interface EraseBatch {
  readonly tenantId: string
  readonly ids: readonly string[]
  readonly actor: string
  readonly why: string
  readonly planId: string
  readonly call: Pick<CallContext, 'requestId'>
}

export interface ErasedBatch {
  readonly erased: number
  readonly skipped: readonly string[]
  /** Lanes in which the next event of a line got its turn. */
  readonly lanes: readonly LaneKey[]
}

/**
 * Removes what is known of the content of events: bytes and headers, what their deliveries were given and answered, and
 * copies in the quarantine. Deliveries that are still to come are cancelled; one that runs is asked to stop. What stays
 * says that there was an event: its id, type and times, the hash of its bytes, and who erased it and why.
 */
export async function eraseInbox(tx: Tx, deps: EraseDeps, batch: EraseBatch): Promise<ErasedBatch> {
  const { tenantId, ids, actor, why, planId } = batch
  const { rows, turns } = await endAndLock(tx, batch)
  const erased = await erasePayloads(tx, { tenantId, ids: rows.map(({ id }) => id) })
  await endWaiting(tx, { tenantId, ids })
  for (const row of rows) {
    const jobIds = await jobsOfInbox(tx, tenantId, row)
    const inputRef = { kind: INBOX_INPUT, route_id: row.route_id }
    await eraseJobContents(tx, { tenantId, ids: jobIds, inputRef })
  }
  const objects = erased.flatMap(({ payload_id }) => payload_id ?? [])
  if (objects.length > 0) await deps.erasePayloads(tx, tenantId, objects)
  await deps.eraseQuarantined(tx, {
    ...{ tenantId, actor, why },
    eventIds: [...new Set(rows.map(({ event_id }) => event_id))],
    sha256: erased.map(({ sha256 }) => sha256),
  })
  const fresh = new Set(erased.map(({ id }) => id))
  await tellErased(
    tx,
    batch,
    rows.filter(({ id }) => fresh.has(id)),
    planId,
  )
  const known = new Set(rows.map(({ id }) => id))
  return {
    erased: erased.length,
    skipped: ids
      .filter((id) => !fresh.has(id))
      .map((id) => (known.has(id) ? 'It was erased before.' : 'It is no longer kept.')),
    lanes: (turns ?? []).map(({ tenant_id, queue, lane }) => ({
      ...{ tenantId: tenant_id, queue: queueName(queue), lane },
    })),
  }
}

/** Somebody who goes on making deliveries of these very events would have to be quick each time. */
const ROUNDS = 10

/**
 * Ends what there is of deliveries, then takes the places in lines, then locks the rows: the order of locks is that of
 * everybody (ADR 0027). When somebody has made a delivery before the rows were locked, it lets go of everything and
 * begins again: who ended that job with the rows in hand could wait for one who waits for them.
 */
async function endAndLock(tx: Tx, batch: EraseBatch) {
  const { tenantId, ids } = batch
  const mark = (text: string) => tx.execute({ name: '', text }, [])
  for (let round = 1; ; round += 1) {
    await mark('savepoint erasure')
    const before = await findByIds(tx, { tenantId, ids })
    await endDeliveries(tx, batch, await withStatus(tx, tenantId, before))
    const { turns } = await leaveLines(tx, {
      leaving: ids.map((id) => ({ tenant_id: tenantId, inbox_id: id, id: newId() })),
    })
    const rows = await lockInbox(tx, { tenantId, ids })
    const known = new Map(before.map(({ id, job_id }) => [id, job_id]))
    if (rows.every(({ id, job_id }) => known.get(id) === job_id)) return { rows, turns }
    if (round === ROUNDS) throw new Error('deliveries of the events to be erased are made faster than ended')
    await mark('rollback to savepoint erasure')
  }
}

const OPEN: ReadonlySet<string> = new Set(['queued', 'scheduled', 'retrying', 'running'])

async function endDeliveries(
  tx: Tx,
  { tenantId, actor, why, planId }: EraseBatch,
  items: readonly InboxItem[],
): Promise<void> {
  const dead: string[] = []
  for (const { row, status } of items) {
    if (row.job_id === null) continue
    if (status === 'dead') dead.push(row.job_id)
    if (!OPEN.has(status)) continue
    try {
      await cancelJobIn(tx, { tenantId, id: row.job_id, actor, reason: `its event was erased: ${why}` })
    } catch (error) {
      // It has just ended by itself.
      if (!(error instanceof Problem && (error.code === 'conflict' || error.code === 'not_found')))
        throw error
    }
  }
  // A replay would be in vain.
  if (dead.length > 0)
    await purgeLetters(tx, { tenantId, ids: dead, actor, why: `The event was erased: ${why}`, planId })
}

const tellErased = (
  tx: Tx,
  { tenantId, actor, why, call }: EraseBatch,
  rows: readonly InboxRow[],
  planId: string,
): Promise<number> =>
  appendEvents(tx, {
    events: rows.map((row) => ({
      tenant_id: tenantId,
      type: 'webhook.erased',
      message: `What it contained was erased by ${actor}: ${why}`,
      connector: row.connector,
      inbox_id: row.id,
      request_id: call.requestId,
      correlation_id: row.correlation_id,
      trace_id: row.trace_id,
      data: { actor, reason: why, plan_id: planId, event_id: row.event_id, event_type: row.event_type },
    })),
  })
