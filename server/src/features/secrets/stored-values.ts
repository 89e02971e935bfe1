/**
 * What the hub keeps sealed for `store://`. The context of the envelope is the workspace, the name and the version:
 * a row that somebody moves elsewhere does not open.
 */
import type { Db } from '../../platform/db/db.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { type Envelope, EnvelopeFailure } from '../../platform/envelope.ts'
import type { Secret } from '../../platform/secret.ts'
import * as sql from './stored-values.sql.ts'

const contextOf = (tenantId: string, name: string, version: number): readonly string[] => [
  'secret',
  tenantId,
  name,
  String(version),
]

const contextOfRow = (row: sql.SealedRow) => contextOf(row.tenant_id, row.name, row.version)

/** Below it four characters would be a good part of the value. */
const MIN_LENGTH_FOR_LAST_FOUR = 16

/** Seals a value for its place. Errors: `EnvelopeFailure`. */
export async function sealForStore(
  envelope: Envelope,
  { tenantId, name, version, value }: sql.Key & { readonly version: number; readonly value: Secret },
): Promise<{ sealed: Buffer; keyId: string; lastFour: string | null }> {
  const sealed = await envelope.seal(value, contextOf(tenantId, name, version))
  const characters = [...value.reveal()]
  return {
    sealed,
    keyId: envelope.keyIdOf(sealed),
    lastFour: characters.length >= MIN_LENGTH_FOR_LAST_FOUR ? characters.slice(-4).join('') : null,
  }
}

/**
 * The active value, then those still accepted, newest first; none when nothing was put yet. An older one that does
 * not open is left out: it must not take the newest with it. Errors: `EnvelopeFailure` for the active one.
 */
export async function openStored(on: Queryable, envelope: Envelope, key: sql.Key): Promise<Secret[]> {
  const [active, ...older] = await sql.sealedInUse(on, key)
  if (!active) return []
  const open = (row: sql.SealedRow) => envelope.open(row.sealed, contextOfRow(row))
  const newest = await open(active)
  const opened = await Promise.allSettled(older.map(open))
  return [newest, ...opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))]
}

/** Opens one value of each key-encryption key in use, and seals a new one. Errors: `EnvelopeFailure`. */
export async function checkStoredSecrets(on: Queryable, envelope: Envelope): Promise<void> {
  await envelope.check()
  for (const row of await sql.oneOfEachKey(on, {})) await envelope.open(row.sealed, contextOfRow(row))
}

const BATCH = 100

export interface Rewrapped {
  readonly rewrapped: number
  /** Values that do not open, each in one sentence without its value. */
  readonly broken: readonly string[]
  /** Values that another key-encryption key than the current one still wraps, the broken ones among them. */
  readonly left: number
}

/**
 * Wraps the data keys of all stored secrets under the current key-encryption key while the hub runs; the values
 * stay the bytes they were. Can be interrupted and repeated. Errors: `EnvelopeFailure` without a current key.
 */
export async function rewrapStoredSecrets(db: Db, envelope: Envelope): Promise<Rewrapped> {
  await envelope.keys.refresh()
  const keyId = envelope.keys.current()
  const broken: string[] = []
  let rewrapped = 0
  let after: sql.Place | undefined
  do {
    const rows = await db.transaction(async (tx) => {
      const batch = await sql.sealedByOthers(tx, { keyId, after, limit: BATCH })
      for (const row of batch) {
        const why = await rewrapRow(tx, envelope, row)
        if (why === undefined) rewrapped += 1
        else broken.push(`${row.name} version ${row.version} of workspace ${row.tenant_id}: ${why}`)
      }
      return batch
    })
    after = rows.length === BATCH ? rows.at(-1) : undefined
  } while (after)
  return { rewrapped, broken, left: (await sql.countByOthers(db, { keyId })).count }
}

async function rewrapRow(tx: Tx, envelope: Envelope, row: sql.SealedRow): Promise<string | undefined> {
  try {
    const sealed = await envelope.rewrap(row.sealed, contextOfRow(row))
    const { tenant_id: tenantId, name, version } = row
    await sql.replaceSealed(tx, { tenantId, name, version, sealed, keyId: envelope.keyIdOf(sealed) })
    return undefined
  } catch (error) {
    if (error instanceof EnvelopeFailure && error.reason !== 'key_unavailable') return error.message
    throw error
  }
}
