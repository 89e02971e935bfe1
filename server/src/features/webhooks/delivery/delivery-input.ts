import type { Queryable } from '../../../platform/db/statement.ts'
import { parseExactJson } from '../../../platform/http/json-body.ts'
import { Problem } from '../../../problems.ts'
import { createBatcher } from '../../../queue/batcher.ts'
import type { ClaimedJob } from '../../../queue/job.ts'
import { PROVIDERS } from '../providers/registry.ts'
import { type DeliveredBytes, deliveredBytes, type InboxRef, sizeOfEvent } from './delivery.sql.ts'
import type { DeliveryEnvelope } from './delivery.ts'

/** What of a job says where its input is. */
export type JobWithInput = Pick<ClaimedJob, 'tenantId' | 'inboxId' | 'input' | 'inputRef'>

export interface DeliveryInputDeps {
  readonly db: Queryable
  /** Of the payload store. Errors: `payload_gone`, `payload_store_unavailable` and what else it refuses with. */
  readonly readPayload: (tenantId: string, id: string) => Promise<Buffer>
  /** True: deliveries of several workspaces share a statement. Not where `db` sees one workspace at a time. */
  readonly together: boolean
}

/** Rows per statement: with the largest bodies that stay in the database, some ten megabytes. */
const MAX_ROWS = 100
/** A statement costs the process as much as some rows: fewer wait for the one that is on its way. */
const ENOUGH = 32

/**
 * Makes the function that completes the input of a delivery: the payload that the provider sent is kept once, in the
 * inbox, and is put in when somebody needs it. Workers run many deliveries at once: what they read together is one
 * statement. Numbers are printed as they were sent, also those that JavaScript would round. Errors: `payload_erased` and `payload_gone`, which no second try mends; `payload_store_unavailable`,
 * `database_unavailable`; `body_too_large` beyond `maxBytes`.
 */
export function createDeliveryInput({
  db,
  readPayload,
  together,
}: DeliveryInputDeps): (job: JobWithInput, maxBytes?: number) => Promise<unknown> {
  const batcher = createBatcher<InboxRef, DeliveredBytes | undefined>({
    maxRows: MAX_ROWS,
    maxInFlight: 2,
    enough: ENOUGH,
    flush: async (refs) => {
      const rows = new Map((await deliveredBytes(db, { refs })).map((row) => [row.place, row]))
      return refs.map((_ref, at) => ({ status: 'fulfilled', value: rows.get(at + 1) }))
    },
  })

  const find = async (ref: InboxRef): Promise<DeliveredBytes | undefined> =>
    together ? batcher.add(ref) : (await deliveredBytes(db, { refs: [ref] }))[0]

  return async ({ tenantId, inboxId, input }, maxBytes) => {
    if (inboxId === null) throw new Error('the payload of a job without an inbox row was asked for')
    const ref = { tenantId, id: inboxId }
    if (maxBytes !== undefined && ((await sizeOfEvent(db, ref))?.size ?? 0) > maxBytes)
      throw tooLarge(maxBytes)
    const kept = await find(ref)
    if (!kept) throw gone()
    const raw =
      kept.body ?? (kept.payload_id === null ? undefined : await readPayload(tenantId, kept.payload_id))
    if (!raw) throw erased()
    // Written by our own `deliveryOf`.
    const envelope = input as DeliveryEnvelope
    const provider = PROVIDERS.get(envelope.data.provider)
    if (!provider)
      throw new Error(`this version does not know the webhook provider ${envelope.data.provider}`)
    const payload = provider.parse(raw, parseExactJson)
    return { ...envelope, data: { ...envelope.data, payload } }
  }
}

const gone = (): Problem =>
  new Problem('payload_gone', 'What the provider sent is no longer kept; it cannot be delivered.')

const erased = (): Problem =>
  new Problem(
    'payload_erased',
    'What the provider sent was erased on request; nothing is left to be delivered.',
  )

const tooLarge = (maxBytes: number): Problem =>
  new Problem('body_too_large', `The payload has more than the ${maxBytes} bytes that are shown here.`)
