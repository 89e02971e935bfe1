import { canonicalJson } from '../../platform/canonical-json.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { findVersion } from './configs.sql.ts'
import { type ConfigDocument, EMPTY_DOCUMENT } from './document.ts'
import { type Difference, differences } from './document-diff.ts'
import type { Target } from './if-match.ts'
import { memberOf } from './members.ts'
import type { StoredVersion } from './versions.ts'

const MAX_DIFFERENCES = 100
const MAX_BYTES = 32 * 1024

/** As many differences as an error may carry; `more` = how many it leaves out (`GET /configs/diff` has them all). */
export function boundedDifferences(all: readonly Difference[]): {
  readonly differences: readonly Difference[]
  readonly more_differences: number
} {
  let bytes = 0
  const kept = all.slice(0, MAX_DIFFERENCES).filter((difference) => {
    bytes += Buffer.byteLength(JSON.stringify(difference))
    return bytes <= MAX_BYTES
  })
  return { differences: kept, more_differences: all.length - kept.length }
}

/**
 * Refuses a change that was made from another version than the active one, and says what has changed since: nothing
 * of what two people save at once is lost. Errors: `version_mismatch`.
 */
export async function requireSeen(
  tx: Tx,
  { tenantId, ifMatch }: Target,
  active: StoredVersion | undefined,
): Promise<void> {
  const version = active?.version ?? 0
  if (ifMatch === undefined || ifMatch === 'none' || ifMatch === version) return
  const seen = await documentOf(tx, tenantId, ifMatch)
  throw new Problem('version_mismatch', `The active version is ${version}, not ${ifMatch}.`, {
    members: {
      active_version: version,
      ...(seen && {
        seen_version: ifMatch,
        ...boundedDifferences(differences(seen, active?.document ?? EMPTY_DOCUMENT)),
      }),
    },
  })
}

async function documentOf(tx: Tx, tenantId: string, version: number): Promise<ConfigDocument | undefined> {
  if (version === 0) return EMPTY_DOCUMENT
  const row = version > 2_147_483_647 ? undefined : await findVersion(tx, { tenantId, version })
  return row?.document as ConfigDocument | undefined
}

/**
 * Refuses to replace what the caller does not say to have seen. Additions and removals by name are no replacement.
 * Errors: `precondition_required` with what would have changed.
 */
export function requireNoReplacement(
  { ifMatch }: Target,
  active: StoredVersion | undefined,
  document: ConfigDocument,
): void {
  if (ifMatch !== 'none' || !active) return
  const replaced = (['policies', 'connectors'] as const).flatMap((part) =>
    Object.keys(active.document[part])
      .filter((name) => {
        const after = memberOf(document, part, name)
        return after !== undefined && canonicalJson(after) !== canonicalJson(active.document[part][name])
      })
      .map((name) => `/${part}/${name}`),
  )
  if (replaced.length > 0) throw blind(active, document)
}

/** Errors: `precondition_required`: activation replaces the whole config. */
export function requireAnyPrecondition(
  { ifMatch }: Target,
  active: StoredVersion | undefined,
  document: ConfigDocument,
): void {
  if (ifMatch === 'none' && active) throw blind(active, document)
}

const blind = (active: StoredVersion, document: ConfigDocument): Problem =>
  new Problem(
    'precondition_required',
    `This replaces something of version ${active.version}: send the version that you have seen in If-Match, or * for whatever is active.`,
    {
      members: {
        active_version: active.version,
        ...boundedDifferences(differences(active.document, document)),
      },
    },
  )
