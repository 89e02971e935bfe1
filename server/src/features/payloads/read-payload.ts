import { createHash } from 'node:crypto'
import { type Envelope, EnvelopeFailure } from '../../platform/envelope.ts'
import { StoreFailure } from '../../platform/storage/object-store.ts'
import { Problem } from '../../problems.ts'
import { type StoredPayload, sealContext } from './payload.ts'
import type { PayloadDeps } from './payload-deps.ts'
import type { PayloadRow } from './payloads.sql.ts'

/** 10 MiB take this long over 10 Mbit/s. */
const READ_TIMEOUT_MS = 10_000
/** What encryption adds: nonce and tag, and some room. */
const OVERHEAD_BYTES = 64

type ReadResult = 'ok' | 'damaged' | 'unavailable'
export type ReadDeps = PayloadDeps & {
  /** Hears how each read of the store ended. */
  readonly tell: (result: ReadResult) => void
}

export const toStored = (row: PayloadRow): StoredPayload => ({
  id: row.id,
  size: row.size,
  sha256: row.sha256.toString('hex'),
  contentType: row.content_type,
  owner: { kind: row.owner_kind, id: row.owner_id },
  sealed: row.sealed_key !== null,
  spooled: row.spooled,
  store: row.store,
  createdAt: row.created_at,
})

/** The bytes of a row, in clear and checked. Errors: `payload_damaged`, `payload_store_unavailable`. */
export async function readStored(
  deps: ReadDeps,
  tenantId: string,
  row: PayloadRow & { readonly body: Buffer | null },
): Promise<Buffer> {
  const kept = row.body ?? (await fromStore(deps, row))
  if (!kept) throw damaged(deps, tenantId, row, 'the object is missing')
  const bytes = row.sealed_key
    ? await opened(deps.envelope, tenantId, row.id, { key: row.sealed_key, bytes: kept })
    : kept
  if (!bytes) throw damaged(deps, tenantId, row, 'it does not decrypt')
  if (bytes.length !== row.size || !createHash('sha256').update(bytes).digest().equals(row.sha256))
    throw damaged(deps, tenantId, row, 'its hash is another one')
  deps.tell('ok')
  return bytes
}

async function fromStore(deps: ReadDeps, row: PayloadRow): Promise<Buffer | undefined> {
  const store = deps.stores.byName.get(row.store)
  if (!store) {
    deps.tell('unavailable')
    throw away(new Error(`this process has no settings of the store ${row.store}`))
  }
  try {
    return await store.get(row.object_key, {
      timeoutMs: READ_TIMEOUT_MS,
      maxBytes: row.size + OVERHEAD_BYTES,
    })
  } catch (error) {
    if (!(error instanceof StoreFailure)) throw error
    deps.tell('unavailable')
    deps.platform.log.warn({ err: error, store: row.store }, 'a payload could not be read')
    throw away(error)
  }
}

async function opened(
  envelope: Envelope,
  tenantId: string,
  id: string,
  sealed: { readonly key: Buffer; readonly bytes: Buffer },
): Promise<Buffer | undefined> {
  try {
    return await envelope.openBytes(sealed, sealContext(tenantId, id))
  } catch (error) {
    if (!(error instanceof EnvelopeFailure)) throw error
    if (error.reason === 'not_authentic') return undefined
    throw away(error)
  }
}

const away = (cause: unknown): Problem =>
  new Problem('payload_store_unavailable', 'The bytes cannot be read at the moment.', {
    retryAfterSeconds: 15,
    cause,
  })

function damaged(deps: ReadDeps, tenantId: string, row: PayloadRow, what: string): Problem {
  deps.tell('damaged')
  deps.platform.log.error(
    { tenant_id: tenantId, payload_id: row.id, store: row.store, what },
    'a payload is damaged',
  )
  return new Problem(
    'payload_damaged',
    'The kept bytes are missing from the payload store, or are not the ones that were given.',
  )
}
