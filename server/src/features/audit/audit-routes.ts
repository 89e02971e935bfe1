import { once } from 'node:events'
import type { FastifyReply } from 'fastify'
import { Type } from 'typebox'
import type { Principal } from '../../platform/auth/principal.ts'
import type { CallContext } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import { appendEvents } from '../../platform/event-log.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { momentAt } from '../../platform/http/moment.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { AuditExportQuery, AuditPage, AuditQuery, auditView, ChainView } from './audit.schema.ts'
import { authorOf, exportAudit, listAudit, nameOf, verifyChain } from './audit.ts'
import type { Evidence } from './verify.ts'

export interface AuditDeps {
  readonly db: Db
  readonly evidence: Evidence
  /** Why a caller whose answer takes long may not go on; undefined = may. */
  readonly reasonToStop: (principal: Principal) => Promise<'workspace_suspended' | 'token_ended' | undefined>
}

/** One chain under one path: that of the caller's workspace, or that of the platform. */
export interface AuditRouteOptions {
  readonly path: string
  readonly permission: string
  /** Ends of the operation ids, and what is said of whose log it is. */
  readonly operation: string
  readonly whose: string
  readonly tenantOf: (principal: Principal) => string
}

const isKey = (parts: readonly unknown[]): parts is readonly [number] =>
  parts.length === 1 && Number.isSafeInteger(parts[0])

/** A reader of an export that takes nothing for so long is gone. */
const STALL_MS = 60_000
const MEDIA_TYPES = { json: 'application/x-ndjson', csv: 'text/csv; charset=utf-8; header=present' } as const
const ENDINGS = { json: 'ndjson', csv: 'csv' } as const

const times = <Query extends { from?: string; to?: string }>({ from, to, ...query }: Query) => ({
  ...query,
  ...(from !== undefined && { from: momentAt('/query/from', from) }),
  ...(to !== undefined && { to: momentAt('/query/to', to) }),
})

/** Reading, verifying and exporting one chain. Entries are written by the changes themselves. */
export function addAuditRoutes(app: HttpServer, deps: AuditDeps, options: AuditRouteOptions): void {
  const { db, evidence } = deps
  const { path, operation, whose, tenantOf } = options
  const config = { access: { permission: options.permission } }
  const tags = ['audit']

  app.get(
    path,
    {
      config,
      schema: {
        operationId: `list${operation}`,
        tags,
        summary: `Who changed what in ${whose}, newest first`,
        querystring: AuditQuery,
        response: { 200: AuditPage },
      },
    },
    async ({ principal, query }) => {
      const { cursor, limit = 50, ...filter } = times(query)
      const beforeSeq = cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0]
      const tenantId = tenantOf(principal)
      const entries = await listAudit(db, { ...filter, tenantId, beforeSeq, limit: limit + 1 })
      return pageOf(entries, limit, ({ seq }) => [seq], auditView)
    },
  )

  app.get(
    `${path}/verify`,
    {
      config,
      schema: {
        operationId: `verify${operation}`,
        tags,
        summary: `Check the hash chain of ${whose} from its first entry to its last, and its signed checkpoints`,
        response: { 200: ChainView },
      },
    },
    async ({ principal }) => verifyChain(db, tenantOf(principal), evidence),
  )

  const stopping = new AbortController()
  // The server's close waits for open answers.
  app.addHook('preClose', async () => stopping.abort())

  app.get(
    `${path}/export`,
    {
      config,
      exposeHeadRoute: false,
      schema: {
        operationId: `export${operation}`,
        tags,
        summary: `The audit log of ${whose} as a file, oldest first`,
        description:
          'Streamed; an answer that breaks off was not complete. Leaves an event `audit.exported`, no audit entry: nothing was changed.',
        querystring: AuditExportQuery,
        response: {
          200: {
            description: 'The entries',
            content: {
              'application/x-ndjson': { schema: Type.String() },
              'text/csv': { schema: Type.String() },
            },
          },
        },
      },
    },
    async ({ principal, query, call, log }, reply) => {
      const { format = 'json', ...filter } = times(query)
      const tenantId = tenantOf(principal)
      const chunks = exportAudit(db, { ...filter, tenantId }, format)
      // The first page is read, and the event written, while a failure is still an ordinary answer.
      const first = await chunks.next()
      await noteExport(db, { tenantId, principal, call, format })
      const output = takeOver(reply, format, stopping.signal)
      try {
        if (!first.done) await output.write(first.value)
        for await (const chunk of chunks) {
          const reason = await deps.reasonToStop(principal)
          if (reason !== undefined) throw new Error(`the caller may not go on: ${reason}`)
          await output.write(chunk)
        }
        output.end()
      } catch (err) {
        // Cut off, so that nobody takes it for the whole.
        output.cut()
        log.warn({ err }, 'an export of the audit log broke off')
      }
    },
  )
}

const noteExport = (
  db: Db,
  export_: { tenantId: string; principal: Principal; call: CallContext; format: string },
): Promise<unknown> => {
  const { tenantId, principal, call, format } = export_
  const by = nameOf(authorOf(principal))
  return appendEvents(db, {
    events: [
      {
        tenant_id: tenantId,
        type: 'audit.exported',
        message: `The audit log was exported by ${by}.`,
        request_id: call.requestId,
        correlation_id: call.correlationId,
        trace_id: call.traceId,
        data: { by, format, ip: call.client?.ip },
      },
    ],
  })
}

/**
 * Takes the answer out of Fastify's hands: an export may take longer than a request may. A reader who takes nothing for
 * a while is gone.
 */
function takeOver(reply: FastifyReply, format: keyof typeof MEDIA_TYPES, stopping: AbortSignal) {
  stopping.throwIfAborted()
  reply.hijack()
  const { raw } = reply
  for (const [name, value] of Object.entries(reply.getHeaders()))
    if (value !== undefined) raw.setHeader(name, value)
  raw.writeHead(200, {
    'content-type': MEDIA_TYPES[format],
    'content-disposition': `attachment; filename="audit.${ENDINGS[format]}"`,
    'cache-control': 'no-store',
  })
  const gone = new AbortController()
  raw.once('close', () => gone.abort(new Error('the reader has gone')))
  raw.setTimeout(STALL_MS, () => raw.destroy())
  const signal = AbortSignal.any([gone.signal, stopping])
  return {
    write: async (text: string): Promise<void> => {
      signal.throwIfAborted()
      if (!raw.write(text)) await once(raw, 'drain', { signal })
    },
    end: () => raw.end(),
    cut: () => raw.destroy(),
  }
}
