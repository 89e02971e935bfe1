/** What the features know of a workspace, for the file that is taken before it is deleted. Wiring only. */
import { exportAudit } from '../features/audit/audit.ts'
import { type BundleDeps, exportBundle } from '../features/bundles/bundles.ts'
import { type Identity, listIdentities } from '../features/identities/identities.ts'
import { listMembers, type Member } from '../features/operators/operators.ts'
import { listStoredPayloads, type StoredPayload } from '../features/payloads/payloads.ts'
import { listIssuers, type TrustedIssuer } from '../features/trusted-issuers/trusted-issuers.ts'
import {
  type ExportLine,
  type ExportLines,
  getWorkspace,
  type WorkspaceDeps,
} from '../features/workspaces/workspaces.ts'
import { everyRow } from '../platform/db/every-row.ts'

/** Both see all workspaces; a deleted one has its audit log only. */
export function workspaceExport(deps: WorkspaceDeps & { readonly bundles: BundleDeps }): ExportLines {
  const { db, bundles } = deps
  return async function* lines(tenantId): AsyncGenerator<ExportLine> {
    if ((await getWorkspace(deps, tenantId)).status !== 'deleted')
      yield { part: 'bundle', bundle: await exportBundle(bundles, tenantId) }
    for await (const { id, name, scopes, createdAt, lastUsedAt, revokedAt } of everyRow<Identity>(
      (last, limit) => listIdentities(db, { tenantId, beforeId: last?.id, limit }),
    ))
      yield { part: 'identity', id, name, scopes, createdAt, lastUsedAt, revokedAt }
    for await (const { id, email, name, role, grantedAt, grantedBy } of everyRow<Member>((last, limit) =>
      listMembers(db, { workspaceId: tenantId, afterId: last?.id, limit }),
    ))
      yield { part: 'member', id, email, name, role, grantedAt, grantedBy }
    for await (const {
      id,
      name,
      issuer,
      jwksUrl,
      scopes,
      subjects,
      createdAt,
      updatedAt,
    } of everyRow<TrustedIssuer>((last, limit) => listIssuers(db, { tenantId, beforeId: last?.id, limit })))
      yield { part: 'trusted_issuer', id, name, issuer, jwksUrl, scopes, subjects, createdAt, updatedAt }
    // What they are; the bytes are history, like the jobs and webhooks that they belong to.
    for await (const { id, size, sha256, contentType, owner, store, createdAt } of everyRow<StoredPayload>(
      (last, limit) => listStoredPayloads(db, { tenantId, beforeId: last?.id, limit }),
    ))
      yield { part: 'payload', id, size, sha256, contentType, owner, store, createdAt }
    for await (const text of exportAudit(db, { tenantId }, 'json'))
      for (const line of text.split('\n'))
        if (line !== '') yield { part: 'audit_entry', entry: JSON.parse(line) as unknown }
  }
}
