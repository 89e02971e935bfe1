import { Value } from 'typebox/value'
import type { Queryable } from '../../platform/db/statement.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { Problem } from '../../problems.ts'
import { VersionNumber } from './configs.schema.ts'
import { findActive, findVersion, listVersions, type SummaryRow, type VersionRow } from './configs.sql.ts'
import { type ConfigDocument, EMPTY_DOCUMENT } from './document.ts'
import { type Difference, differences } from './document-diff.ts'

export interface VersionSummary {
  readonly version: number
  readonly active: boolean
  /** Lower-case hex. */
  readonly sha256: string
  readonly author: string
  readonly reason: string
  readonly createdAt: Date
}

export interface StoredVersion extends VersionSummary {
  readonly document: ConfigDocument
}

const summary = (row: SummaryRow): VersionSummary => ({
  version: row.version,
  active: row.active,
  sha256: row.sha256.toString('hex'),
  author: row.author,
  reason: row.reason,
  createdAt: row.created_at,
})

const stored = (row: VersionRow): StoredVersion => ({
  ...summary(row),
  // Checked against the schema before it was stored, and immutable since.
  document: row.document as ConfigDocument,
})

/** The active version; undefined for a workspace that has none yet. */
export async function activeVersion(on: Queryable, tenantId: string): Promise<StoredVersion | undefined> {
  const row = await findActive(on, { tenantId })
  return row && stored(row)
}

/** The active document; an empty one, of version 0, for a workspace without a config. */
export async function readActive(
  on: Queryable,
  tenantId: string,
): Promise<{ readonly version: number; readonly document: ConfigDocument }> {
  return (await activeVersion(on, tenantId)) ?? { version: 0, document: EMPTY_DOCUMENT }
}

/** Only the document of it. */
export const activeDocument = async (on: Queryable, tenantId: string): Promise<ConfigDocument> =>
  (await readActive(on, tenantId)).document

/** One version. Errors: `not_found`. */
export async function configVersion(
  on: Queryable,
  tenantId: string,
  version: number,
): Promise<StoredVersion> {
  const row = await findVersion(on, { tenantId, version })
  if (!row) throw new Problem('not_found', 'There is no such config version in this workspace.')
  return stored(row)
}

const isVersionKey = (parts: readonly unknown[]): parts is readonly [number] =>
  parts.length === 1 && Value.Check(VersionNumber, parts[0])

/** Versions, newest first. Errors: `validation_error` for a cursor of another list. */
export async function listConfigVersions(
  on: Queryable,
  tenantId: string,
  page: { readonly cursor?: string | undefined; readonly limit: number },
): Promise<{ data: VersionSummary[]; next_cursor: string | null }> {
  const before = page.cursor === undefined ? null : decodeCursor(page.cursor, isVersionKey)[0]
  const rows = await listVersions(on, { tenantId, before, limit: page.limit + 1 })
  return pageOf(rows, page.limit, (row) => [row.version], summary)
}

/** What changed between two versions. Errors: `not_found`. */
export async function diffVersions(
  on: Queryable,
  tenantId: string,
  from: number,
  to: number,
): Promise<Difference[]> {
  const [before, after] = [await configVersion(on, tenantId, from), await configVersion(on, tenantId, to)]
  return differences(before.document, after.document)
}
