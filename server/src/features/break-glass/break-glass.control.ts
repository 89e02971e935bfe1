import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { type AuditEntryOfChain, authorOf } from '../audit/audit.ts'
import { NO_WORKSPACE, type WorkspaceDirectory } from '../workspaces/workspaces.ts'
import {
  CloseBody,
  EndBody,
  EnterBody,
  InspectedView,
  OpenBody,
  OpenedSession,
  ReviewBody,
  SessionPage,
  SessionParams,
  SessionsQuery,
  SessionView,
  WorkspaceToken,
} from './break-glass.schema.ts'
import { type BreakGlassDeps, enterWorkspace, openSession } from './break-glass.ts'
import { endSession, sessionOf } from './endings.ts'
import { inspectSession, listSessions, reviewSession } from './review.ts'
import type { EmergencySession } from './session.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const view = (session: EmergencySession): SessionView => ({
  id: session.id,
  subject: session.subject,
  reason: session.reason,
  ticket: session.ticket,
  ip: session.ip,
  started_at: session.startedAt.toISOString(),
  expires_at: session.expiresAt.toISOString(),
  ended_at: session.endedAt?.toISOString() ?? null,
  ended_by: session.endedBy,
  reviewed_at: session.reviewedAt?.toISOString() ?? null,
  reviewed_by: session.reviewedBy,
  review: session.review,
})

const entryView = (entry: AuditEntryOfChain) => ({
  workspace_id: entry.tenantId === NO_WORKSPACE ? null : entry.tenantId,
  seq: entry.seq,
  at: entry.at.toISOString(),
  action: entry.action,
  object: entry.object,
  reason: entry.reason,
  request_id: entry.requestId,
})

const tags = ['break-glass']

/**
 * `/break-glass` of the ordinary listener: what was done in emergencies, its review, and its end by somebody else.
 * Nothing is opened here.
 */
export function breakGlassControl(app: HttpServer, { db }: Pick<BreakGlassDeps, 'db'>): void {
  app.get(
    '/break-glass',
    {
      config: { access: { permission: 'break_glass.read' } },
      schema: {
        operationId: 'listEmergencySessions',
        tags,
        summary: 'Emergency sessions, newest first',
        querystring: SessionsQuery,
        response: { 200: SessionPage },
      },
    },
    async ({ query: { cursor, limit = 50, reviewed } }) => {
      const beforeId = cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0]
      const rows = await listSessions(db, { beforeId, reviewed, limit: limit + 1 })
      return pageOf(rows, limit, ({ id }) => [id], view)
    },
  )

  app.get(
    '/break-glass/:id',
    {
      config: { access: { permission: 'break_glass.inspect' } },
      schema: {
        operationId: 'getEmergencySession',
        tags,
        summary: 'One emergency session, with what all audit logs tell of it',
        params: SessionParams,
        response: { 200: InspectedView },
      },
    },
    async ({ params: { id } }) => {
      const { session, entries, hasMore } = await inspectSession(db, { id })
      return { ...view(session), entries: entries.map(entryView), has_more_entries: hasMore }
    },
  )

  app.post(
    '/break-glass/:id/end',
    {
      config: { access: { permission: 'break_glass.end' } },
      schema: {
        operationId: 'endEmergencySession',
        tags,
        summary: 'End an emergency session of somebody else at once, with its open streams',
        params: SessionParams,
        body: EndBody,
        response: { 200: SessionView },
      },
    },
    async ({ principal, params: { id }, body: { reason }, call }) =>
      view(await endSession(db, { id }, { ...authorOf(principal), reason, call })),
  )

  app.post(
    '/break-glass/:id/review',
    {
      config: { access: { permission: 'break_glass.review' } },
      schema: {
        operationId: 'reviewEmergencySession',
        tags,
        summary: 'Say what an ended emergency session did; by somebody else than who opened it',
        params: SessionParams,
        body: ReviewBody,
        response: { 200: SessionView },
      },
    },
    async ({ principal, params: { id }, body: { review, reason }, call }) =>
      view(await reviewSession(db, { id, review }, { ...authorOf(principal), reason, call })),
  )
}

/** What only the break-glass listener has: opening, entering a workspace, closing. */
export function emergencyControl(
  app: HttpServer,
  deps: BreakGlassDeps & { readonly directory: WorkspaceDirectory },
): void {
  const config = { access: { permission: 'break_glass.use' } }

  app.post(
    '/break-glass/open',
    {
      config: { access: 'public' },
      schema: {
        operationId: 'openEmergencySession',
        tags,
        summary: 'Open an emergency session with password and second factor; every Admin is told first',
        body: OpenBody,
        response: { 201: OpenedSession },
      },
    },
    async ({ body: { email, password, code, reason, ticket, minutes = 30 }, call, log }, reply) => {
      const proof = { email, password: new Secret(password), code: new Secret(code) }
      const { session, token } = await openSession(deps, { ...proof, ticket, minutes }, { reason, call, log })
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ ...view(session), access_token: token.reveal() })
    },
  )

  app.post(
    '/break-glass/enter',
    {
      config,
      schema: {
        operationId: 'enterWorkspaceInEmergency',
        tags,
        summary: 'A token of this session for one workspace',
        body: EnterBody,
        response: { 201: WorkspaceToken },
      },
    },
    async ({ principal, body: { workspace_id, reason }, call }, reply) => {
      const workspace = await deps.directory.find(workspace_id.toLowerCase())
      const token = await enterWorkspace(deps, principal, workspace, { ...authorOf(principal), reason, call })
      return reply.code(201).header('cache-control', 'no-store').send({ access_token: token.reveal() })
    },
  )

  app.post(
    '/break-glass/close',
    {
      config,
      schema: {
        operationId: 'closeEmergencySession',
        tags,
        summary: 'End this emergency session; the review is due then',
        body: CloseBody,
        response: { 200: SessionView },
      },
    },
    async ({ principal, body: { reason }, call }) => {
      const session = { id: sessionOf(principal) }
      return view(await endSession(deps.db, session, { ...authorOf(principal), reason, call }))
    },
  )
}
