import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { type AuditEntryView, AuditPage, AuditQuery, ChainView } from './audit.schema.ts'
import { type AuditEntry, listAudit, verifyChain } from './audit.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [number] =>
  parts.length === 1 && Number.isSafeInteger(parts[0])

const view = (entry: AuditEntry): AuditEntryView => ({
  seq: entry.seq,
  at: entry.at.toISOString(),
  actor: entry.actor,
  action: entry.action,
  object: entry.object,
  reason: entry.reason,
  diff: [...entry.diff],
  request_id: entry.requestId,
  trace_id: entry.traceId,
  hash: entry.hash,
})

/** `/audit` of the control plane: reading only, entries are written by the changes themselves. */
export function auditControl(app: HttpServer, { db }: { readonly db: Db }): void {
  const config = { access: { permission: 'audit.read' } }

  app.get(
    '/audit',
    {
      config,
      schema: {
        operationId: 'listAudit',
        tags: ['audit'],
        summary: 'Who changed what in this workspace, newest first',
        querystring: AuditQuery,
        response: { 200: AuditPage },
      },
    },
    async ({ principal, query }) => {
      const { cursor, limit = 50, actor, action, object } = query
      const beforeSeq = cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0]
      const entries = await listAudit(db, {
        tenantId: principal.tenantId,
        beforeSeq,
        actor,
        action,
        object,
        limit: limit + 1,
      })
      return pageOf(entries, limit, ({ seq }) => [seq], view)
    },
  )

  app.get(
    '/audit/verify',
    {
      config,
      schema: {
        operationId: 'verifyAudit',
        tags: ['audit'],
        summary: 'Check the hash chain of this workspace from its first entry to its last',
        response: { 200: ChainView },
      },
    },
    async ({ principal }) => verifyChain(db, principal.tenantId),
  )
}
