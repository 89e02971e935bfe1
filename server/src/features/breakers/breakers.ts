/**
 * The door of the breakers feature: what is stored of circuit breakers, and the operator's hand on them.
 *
 * A breaker decides in the memory of the process that calls (`resilience/breakers.ts`), one for each connector of a
 * workspace. Its row holds the last word of any process, for the operators and for the next start, and what an
 * operator has forced, which every process obeys within seconds. Invariants. A force has an end, a reason and an
 * author, and commits with its audit entry and its event. A force wins over the breaker's own state.
 */
import type { Db } from '../../platform/db/db.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { Problem } from '../../problems.ts'
import { queueName } from '../../queue/job.ts'
import { freeLane } from '../../queue/lane-policy.ts'
import { endSnoozes } from '../../queue/pause.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { connectorLanes } from '../configs/configs.ts'
import { tellBreakers } from './breaker-care.ts'
import type { BreakerView } from './breakers.schema.ts'
import { type BreakerRow, findBreakerRow, forceRow, listBreakerRows, releaseRow } from './breakers.sql.ts'

export { type BreakerCare, createBreakerCare } from './breaker-care.ts'

export interface BreakerDeps {
  readonly db: Db
  readonly wakeUp: Pick<WakeUp, 'hint'>
}

interface BreakerRef {
  readonly tenantId: string
  readonly connector: string
}

const viewOf = (row: BreakerRow): BreakerView => ({
  connector: row.connector,
  // Nobody has called since its time was over: the next call is a probe.
  state: row.state === 'open' && row.open_until === null ? 'half_open' : row.state,
  open_until: row.state === 'open' ? (row.open_until?.toISOString() ?? null) : null,
  why: row.why,
  shadow: row.shadow,
  changed_at: row.changed_at?.toISOString() ?? null,
  forced:
    row.forced && row.forced_until && row.forced_at
      ? {
          state: row.forced,
          until: row.forced_until.toISOString(),
          reason: row.forced_why ?? '',
          by: row.forced_by ?? '',
          since: row.forced_at.toISOString(),
        }
      : null,
})

/** Breakers that have ever opened or been forced, by the name of their connector. */
export async function listBreakers(
  on: Queryable,
  page: { readonly tenantId: string; readonly afterConnector: string; readonly limit: number },
): Promise<BreakerView[]> {
  return (await listBreakerRows(on, page)).map(viewOf)
}

/** A breaker; one that never opened is closed. Errors: `not_found` for a connector that the workspace never had. */
export async function readBreaker(on: Queryable, ref: BreakerRef): Promise<BreakerView> {
  const row = await findBreakerRow(on, ref)
  if (row) return viewOf(row)
  await laneOf(on, ref)
  return {
    connector: ref.connector,
    state: 'closed',
    open_until: null,
    why: '',
    shadow: false,
    changed_at: null,
    forced: null,
  }
}

/** Opens or closes a breaker by hand, for a time. Jobs that waited for a breaker that is closed now go on at once. */
export function forceBreaker(
  deps: BreakerDeps,
  ref: BreakerRef,
  force: { readonly state: 'open' | 'closed'; readonly forMs: number },
  change: Change,
): Promise<BreakerView> {
  const { forMs, state } = force
  const message = `Forced ${state} for ${Math.round(forMs / 1_000)} s: ${change.reason}`
  return changeBreaker(deps, ref, change, { verb: 'forced', message, data: force }, async (tx) => {
    await forceRow(tx, { ...ref, forced: state, forMs, why: change.reason, by: nameOf(change) })
    return state === 'closed'
  })
}

/** Ends what was forced; the breaker decides for itself again. Errors: `conflict` when nothing was. */
export function releaseBreaker(deps: BreakerDeps, ref: BreakerRef, change: Change): Promise<BreakerView> {
  const message = `Decides for itself again: ${change.reason}`
  return changeBreaker(deps, ref, change, { verb: 'released', message, data: {} }, async (tx) => {
    const before = await findBreakerRow(tx, ref)
    if ((await releaseRow(tx, ref)) === 0)
      throw new Problem('conflict', 'The breaker is not forced to anything.')
    return before?.forced === 'open'
  })
}

async function changeBreaker(
  { db, wakeUp }: BreakerDeps,
  ref: BreakerRef,
  change: Change,
  told: { readonly verb: 'forced' | 'released'; readonly message: string; readonly data: object },
  /** True when calls that were refused may pass now. */
  make: (tx: Tx) => Promise<boolean>,
): Promise<BreakerView> {
  const { tenantId, connector } = ref
  const { requestId: request_id, correlationId: correlation_id, traceId: trace_id } = change.call
  const { view, woken } = await db.transaction(async (tx) => {
    const lane = await laneOf(tx, ref)
    const opens = await make(tx)
    const queues = opens ? await freeBlocked(tx, tenantId, lane) : []
    await appendEvents(tx, {
      events: [
        {
          tenant_id: tenantId,
          type: `breaker.${told.verb}`,
          severity: 'warning',
          message: told.message,
          connector,
          request_id,
          correlation_id,
          trace_id,
          data: { ...told.data, actor: nameOf(change) },
        },
      ],
    })
    await tellBreakers(tx, tenantId)
    const after = await readBreaker(tx, ref)
    await recordAudit(tx, {
      tenantId,
      action: `breaker.${told.verb}`,
      object: `connector:${connector}`,
      ...change,
    })
    return { view: after, woken: queues }
  })
  wakeUp.hint(woken)
  return view
}

/** Ends the block that an open breaker put on the lane, and the wait of the jobs that met it. */
async function freeBlocked(tx: Tx, tenantId: string, lane: number) {
  if ((await freeLane(tx, { tenantId, lane, reason: 'circuit_open' })) === 0) return []
  const queues = await endSnoozes(tx, { tenantId, lane })
  return queues.map(({ queue }) => ({ tenantId, lane, queue: queueName(queue) }))
}

async function laneOf(on: Queryable, { tenantId, connector }: BreakerRef): Promise<number> {
  const lane = (await connectorLanes(on, tenantId)).get(connector)
  if (lane === undefined) throw new Problem('not_found', 'There is no such connector in this workspace.')
  return lane
}
