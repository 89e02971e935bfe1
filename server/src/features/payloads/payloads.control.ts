import type { Principal } from '../../platform/auth/principal.ts'
import type { CallContext } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import { asRequestOf } from '../../platform/db/request-db.ts'
import { appendEvents } from '../../platform/event-log.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { authorOf, nameOf } from '../audit/audit.ts'
import { BYTES_ANSWERS, LINK_ANSWERS, READ_ANSWERS } from './documented.ts'
import { LINK_SECONDS, type LinkDeps, openLink, signLink } from './download-link.ts'
import { DownloadLink, LinkQuery, PayloadBytes, PayloadParams, PayloadView } from './payloads.schema.ts'
import type { Payloads, StoredPayload } from './payloads.ts'
import { payloadNotFound, sendPayload } from './send-payload.ts'

export interface PayloadControlDeps extends LinkDeps {
  readonly db: Db
  readonly payloads: Payloads
}

const view = (payload: StoredPayload) => ({
  ...{ id: payload.id, size: payload.size, sha256: payload.sha256, content_type: payload.contentType },
  owner: payload.owner,
  ...{ encrypted: payload.sealed, store: payload.store, spooled: payload.spooled },
  created_at: payload.createdAt.toISOString(),
})

/** `/payloads` of the control plane: what a large body is, and a link to it. */
export function payloadsControl(app: HttpServer, deps: PayloadControlDeps): void {
  const { db, payloads, clock } = deps
  const access = { permission: 'payloads.read' }
  const tags = ['payloads']

  app.get(
    '/payloads/:id',
    {
      config: { access, answers: READ_ANSWERS },
      schema: {
        operationId: 'getPayload',
        tags,
        summary: 'What a large body is and where it is kept',
        params: PayloadParams,
        response: { 200: PayloadView },
      },
    },
    async ({ principal, params }) => {
      const payload = await payloads.find(principal.tenantId, params.id)
      if (!payload) throw payloadNotFound()
      return view(payload)
    },
  )

  app.get(
    '/payloads/:id/download',
    {
      config: { access, answers: LINK_ANSWERS },
      exposeHeadRoute: false,
      schema: {
        operationId: 'downloadPayload',
        tags,
        summary: 'A link to the bytes, for five minutes',
        description:
          'Of the store itself where it can give one; else a path of this plane. Leaves an event `payload.download_link`, no audit entry: nothing was changed.',
        params: PayloadParams,
        response: { 200: DownloadLink },
      },
    },
    async ({ principal, params, call }) => {
      const { tenantId } = principal
      const payload = await payloads.find(tenantId, params.id)
      if (!payload) throw payloadNotFound()
      const target = { tenantId, id: payload.id }
      const expiresAt = new Date(clock.now() + LINK_SECONDS * 1_000)
      const url =
        (await payloads.presigned(tenantId, payload.id, LINK_SECONDS)) ??
        `/payloads/link?key=${await signLink(deps, target)}`
      // Before the link is out.
      await noteLink(db, principal, call, payload)
      return { url, expires_at: expiresAt.toISOString() }
    },
  )

  app.get(
    '/payloads/link',
    {
      config: { access: 'public', answers: BYTES_ANSWERS },
      exposeHeadRoute: false,
      schema: {
        operationId: 'followPayloadLink',
        tags,
        summary: 'The bytes that a link of this plane opens',
        querystring: LinkQuery,
        response: { 200: PayloadBytes },
      },
    },
    async ({ query }, reply) => {
      const target = await openLink(deps, query.key)
      if (!target) throw payloadNotFound()
      const { tenantId, id } = target
      // Its signature says in whose workspace somebody was allowed to ask.
      return asRequestOf(tenantId, () => sendPayload(reply, payloads, tenantId, id))
    },
  )
}

function noteLink(db: Db, principal: Principal, call: CallContext, payload: StoredPayload): Promise<unknown> {
  const by = nameOf(authorOf(principal))
  return appendEvents(db, {
    events: [
      {
        tenant_id: principal.tenantId,
        type: 'payload.download_link',
        message: `A link to a payload was given to ${by}.`,
        ...{ request_id: call.requestId, correlation_id: call.correlationId, trace_id: call.traceId },
        data: { by, payload_id: payload.id, size: payload.size, owner: payload.owner },
      },
    ],
  })
}
