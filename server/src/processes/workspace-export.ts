/** What the features know of a workspace, for the file that is taken before it is deleted. Wiring only. */
import { exportAudit } from '../features/audit/audit.ts'
import { type BundleDeps, exportBundle } from '../features/bundles/bundles.ts'
import { listIdentities } from '../features/identities/identities.ts'
import { listMembers } from '../features/operators/operators.ts'
import { listIssuers } from '../features/trusted-issuers/trusted-issuers.ts'
import {
  type ExportLine,
  type ExportLines,
  getWorkspace,
  type WorkspaceDeps,
} from '../features/workspaces/workspaces.ts'

const PAGE = 200

/** The rows of all pages; `last` is the key that the next page begins after. */
async function* pages<Row extends { readonly id: string }>(
  read: (last: string | undefined) => Promise<readonly Row[]>,
): AsyncGenerator<Row> {
  let last: string | undefined
  do {
    const rows = await read(last)
    yield* rows
    last = rows.length < PAGE ? undefined : rows.at(-1)?.id
  } while (last !== undefined)
}

/** Both see all workspaces; a deleted one has its audit log only. */
export function workspaceExport(deps: WorkspaceDeps & { readonly bundles: BundleDeps }): ExportLines {
  const { db, bundles } = deps
  return async function* lines(tenantId): AsyncGenerator<ExportLine> {
    if ((await getWorkspace(deps, tenantId)).status !== 'deleted')
      yield { part: 'bundle', bundle: await exportBundle(bundles, tenantId) }
    for await (const { id, name, scopes, createdAt, lastUsedAt, revokedAt } of pages((beforeId) =>
      listIdentities(db, { tenantId, beforeId, limit: PAGE }),
    ))
      yield { part: 'identity', id, name, scopes, createdAt, lastUsedAt, revokedAt }
    for await (const { id, email, name, role, grantedAt, grantedBy } of pages((afterId) =>
      listMembers(db, { workspaceId: tenantId, afterId, limit: PAGE }),
    ))
      yield { part: 'member', id, email, name, role, grantedAt, grantedBy }
    for await (const { id, name, issuer, jwksUrl, scopes, subjects, createdAt, updatedAt } of pages(
      (beforeId) => listIssuers(db, { tenantId, beforeId, limit: PAGE }),
    ))
      yield { part: 'trusted_issuer', id, name, issuer, jwksUrl, scopes, subjects, createdAt, updatedAt }
    for await (const text of exportAudit(db, { tenantId }, 'json'))
      for (const line of text.split('\n'))
        if (line !== '') yield { part: 'audit_entry', entry: JSON.parse(line) as unknown }
  }
}
