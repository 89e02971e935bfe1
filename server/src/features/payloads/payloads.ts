/**
 * Payloads: bodies that are too large for the database, as objects of a store.
 *
 * Invariants. The object is there before the row, and the row commits before, or with, what refers to it: a reference
 * that can be read has its bytes. A store that is away costs a place in the spool, in the database, bounded over the
 * whole hub; a full spool refuses. Every read compares the bytes with the hash that was taken when they came. An object
 * whose row has gone is deleted by the worker; one that never got a row is found within two days.
 *
 * States: kept (object, no row) → spooled or stored (row) → gone. `payloads.worker.ts` moves what is spooled.
 */
import { createHash } from 'node:crypto'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import type { ObjectStore } from '../../platform/storage/object-store.ts'
import { Problem } from '../../problems.ts'
import { createBytesKeeper } from './keep-bytes.ts'
import { objectKey } from './object-key.ts'
import {
  fileName,
  type KeptPayload,
  type NewPayload,
  type PayloadOwner,
  type StoredPayload,
  sealContext,
} from './payload.ts'
import type { PayloadDeps } from './payload-deps.ts'
import {
  anyIn,
  deletePayloads,
  findOfOwner,
  findPayload,
  findWithBody,
  insertPayloads,
  listPayloads,
} from './payloads.sql.ts'
import { readStored, toStored } from './read-payload.ts'

export { createPayloadRounds, type PayloadCare, SWEEP_EVERY_MS } from './care.ts'
export type {
  KeptPayload,
  NewPayload,
  PayloadJson,
  PayloadOwner,
  PayloadRef,
  StoredPayload,
} from './payload.ts'
export { fileName, payloadJson } from './payload.ts'
export type { PayloadDeps, PayloadStores } from './payload-deps.ts'

export interface Payloads {
  readonly inlineLimitBytes: number
  /**
   * Keeps bytes that are too large to stay inline, durably, before the transaction that refers to them; undefined = they
   * are small enough. What is never recorded goes by itself. Errors: `payload_store_unavailable`, `database_unavailable`.
   */
  keep(tenantId: string, bytes: Buffer, contentType: string): Promise<KeptPayload | undefined>
  /** Writes the rows, in the transaction of what refers to them or before it. */
  record(tx: Tx, payloads: readonly NewPayload[]): Promise<void>
  /** The bytes as they came. Errors: `payload_gone`, `payload_damaged`, `payload_store_unavailable`. */
  read(tenantId: string, id: string): Promise<Buffer>
  /** What is known of it; undefined for one of another workspace, too. */
  find(tenantId: string, id: string): Promise<StoredPayload | undefined>
  /** The newest payload of an owner. */
  findOf(tenantId: string, owner: PayloadOwner): Promise<StoredPayload | undefined>
  /** Forgets payloads; their objects are deleted soon after the commit. */
  erase(tx: Tx, tenantId: string, ids: readonly string[]): Promise<void>
  /** A URL of the store itself, for so many seconds; undefined where there is none for it. */
  presigned(tenantId: string, id: string, expiresSeconds: number): Promise<string | undefined>
}

export function createPayloads(deps: PayloadDeps): Payloads {
  const { db } = deps.platform
  const readDb = deps.readDb ?? db
  const keeper = createBytesKeeper(deps)
  const readDeps = { ...deps, tell: keeper.readTold }

  return {
    inlineLimitBytes: deps.inlineLimitBytes,
    keep: async (tenantId, bytes, contentType) => {
      if (bytes.length <= deps.inlineLimitBytes) return undefined
      const id = newId()
      const sealed = deps.encrypt
        ? await deps.envelope.sealBytes(bytes, sealContext(tenantId, id)).catch(cannotSeal)
        : undefined
      const payload: KeptPayload = {
        ...{ id, tenantId, size: bytes.length, contentType: plainType(contentType) },
        sha256: createHash('sha256').update(bytes).digest('hex'),
        store: deps.stores.current,
        objectKey: await objectKey(db, tenantId, id),
        sealedKey: sealed?.key ?? null,
      }
      await keeper.keep(payload, sealed?.bytes ?? bytes)
      return payload
    },
    record: async (tx, payloads) => {
      if (payloads.length > 0) await insertPayloads(tx, { payloads })
    },
    read: async (tenantId, id) => {
      const row = await findWithBody(readDb, { tenantId, id })
      if (!row) throw gone()
      return readStored(readDeps, tenantId, row)
    },
    find: async (tenantId, id) => {
      const row = await findPayload(readDb, { tenantId, id })
      return row && toStored(row)
    },
    findOf: async (tenantId, owner) => {
      const row = await findOfOwner(readDb, { tenantId, owner })
      return row && toStored(row)
    },
    erase: async (tx, tenantId, ids) => {
      if (ids.length > 0) await deletePayloads(tx, { tenantId, ids })
    },
    presigned: async (tenantId, id, expiresSeconds) => {
      const row = await findPayload(readDb, { tenantId, id })
      // The store would hand out what only we can decrypt, or does not have it yet.
      if (!row || row.spooled || row.sealed_key) return undefined
      const store = deps.stores.byName.get(row.store)
      return store?.presignedUrl(row.object_key, { expiresSeconds, filename: fileName(id) })
    },
  }
}

/** Whether the hub has ever kept an object in this store that it still knows of. */
export const hasKept = async (on: Queryable, store: ObjectStore['name']): Promise<boolean> =>
  (await anyIn(on, { store })).found

/** Newest first: what a workspace has in the payload store. */
export const listStoredPayloads = async (
  on: Queryable,
  page: { readonly tenantId: string; readonly beforeId: string | undefined; readonly limit: number },
): Promise<StoredPayload[]> => (await listPayloads(on, page)).map(toStored)

const gone = (): Problem => new Problem('payload_gone', 'The bytes were erased, or their time is over.')

const cannotSeal = (cause: unknown): never => {
  throw new Problem('payload_store_unavailable', 'Large bodies cannot be encrypted at the moment.', {
    retryAfterSeconds: 30,
    cause,
  })
}

/** A type that can stand in a header and in the row; anything else is bytes. */
const plainType = (contentType: string): string =>
  /^[\x21-\x7e][\x20-\x7e]{0,253}$/.test(contentType) ? contentType : 'application/octet-stream'
