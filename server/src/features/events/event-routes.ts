import type { ServerResponse } from 'node:http'
import type { FastifyReply } from 'fastify'
import { Type } from 'typebox'
import { tokenRefused } from '../../platform/auth/tokens.ts'
import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/server.ts'
import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import type { ReasonToStop, StopReason } from '../workspaces/workspaces.ts'
import { createEventFeed } from './event-feed.ts'
import { endFrame, eventFrame, pumpEvents, StalledReader } from './event-stream.ts'
import {
  type EventDocument,
  type EventFilterQuery,
  EventListQuery,
  EventPage,
  EventStreamHeaders,
  EventStreamQuery,
} from './events.schema.ts'
import {
  decodePosition,
  type EventFilter,
  encodePosition,
  endOfEvents,
  type LoggedEvent,
  positionOf,
  readEvents,
} from './events.ts'
import { createStreamSlots } from './stream-slots.ts'

export interface EventRouteOptions {
  /** Asked before a stream reads on, and every second: a token may end, a workspace be suspended. */
  readonly reasonToStop: ReasonToStop
  readonly stream?: Partial<StreamLimits>
}

export interface StreamLimits {
  readonly pollMs: number
  readonly heartbeatMs: number
  /** How often an idle stream asks whether it may go on. */
  readonly askMs: number
  readonly stallMs: number
  readonly perTenant: number
  readonly perProcess: number
  /** Events read, and held in memory, at a time. */
  readonly sliceSize: number
}

const LIMITS: StreamLimits = {
  pollMs: 500,
  heartbeatMs: 15_000,
  askMs: 1_000,
  stallMs: 30_000,
  perTenant: 20,
  perProcess: 500,
  sliceSize: 100,
}

/** With `db` one feed looks for news of all workspaces; readers see their own with `requestDb`. */
export type EventDeps = Pick<Platform, 'db' | 'notifications' | 'clock' | 'log' | 'metrics'> & {
  readonly requestDb: Db
}

/** `GET /events` and `GET /events/stream`, the same on both planes. */
export function addEventRoutes(app: HttpServer, deps: EventDeps, options: EventRouteOptions): void {
  const limits = { ...LIMITS, ...options.stream }
  const access = { permission: 'events.read' }
  const { requestDb: db, clock } = deps

  app.get(
    '/events',
    {
      config: { access },
      schema: {
        operationId: 'listEvents',
        tags: ['events'],
        summary: 'Read the event log',
        description:
          'Oldest first after the cursor, or newest first with `order=desc`. An event shows up when every older transaction has ended, so a reader that goes on from the last `id` misses none. A filtered page may be short, even empty, before the end: go on until `next_cursor` is null.',
        querystring: EventListQuery,
        response: { 200: EventPage },
      },
    },
    async (request) => {
      const { cursor, limit = 50, order = 'asc', ...filter } = request.query
      const slice = await readEvents(db, {
        tenantId: request.principal.tenantId,
        filter: asFilter(filter),
        order,
        after: cursor === undefined ? undefined : decodePosition(cursor),
        limit,
      })
      return {
        data: slice.events.map(asDocument),
        next_cursor: slice.complete ? null : encodePosition(slice.position),
      }
    },
  )

  const feed = createEventFeed(deps, limits)
  const open = deps.metrics.gauge('event_streams_open', 'Open event streams')
  const takeSlot = createStreamSlots({ ...limits, onChange: (count) => open.set(count) })
  const stopping = new AbortController()
  const running = new Set<Promise<void>>()
  // The server's close waits for open answers: the streams have to end first.
  app.addHook('preClose', async () => {
    stopping.abort(STOPPING)
    await Promise.all(running)
  })
  app.addHook('onClose', () => feed.close())

  app.get(
    '/events/stream',
    {
      config: { access },
      exposeHeadRoute: false,
      schema: {
        operationId: 'streamEvents',
        tags: ['events'],
        summary: 'Follow the event log (server-sent events)',
        description:
          'Each `data` is one event as in the list, each `id` resumes after it (`Last-Event-ID`). Blocks with an `id` and no `data` only move the place to resume from. Before the hub ends a stream it sends `event: end` with a `reason`: `token_expired`, `token_ended`, `workspace_suspended`, `shutting_down` or `failed`.',
        querystring: EventStreamQuery,
        headers: EventStreamHeaders,
        response: {
          200: {
            description: 'The stream',
            content: { 'text/event-stream': { schema: Type.String() } },
          },
        },
      },
    },
    async (request, reply) => {
      const { cursor, ...query } = request.query
      const { principal } = request
      const { tenantId, expiresAt } = principal
      const filter = asFilter(query)
      // Browsers send an empty one when the last event had no id.
      const lastId = request.headers['last-event-id'] || undefined
      const where = lastId === undefined ? '/query/cursor' : '/headers/last-event-id'
      const place = lastId ?? cursor
      const after = place === undefined ? undefined : decodePosition(place, where)
      const release = takeSlot(tenantId)
      const follower = feed.follow(tenantId)
      const stop = (): void => {
        follower.stop()
        release()
      }
      try {
        const mayGoOn = async (): Promise<void> => {
          const reason = await options.reasonToStop(principal)
          if (reason) throw STOPPED[reason]
        }
        const read = async (from: { xid: string; seq: number }) => {
          await mayGoOn()
          return readEvents(
            db,
            { tenantId, filter, order: 'asc', after: from, limit: limits.sliceSize },
            where,
          )
        }
        const first = await read(after ?? (await endOfEvents(db, tenantId)))
        const { raw, signal } = takeOver(reply, stopping.signal)
        const session = {
          ...{ output: raw, first, read, mayGoOn, follower, frame, clock, expiresAt, signal },
          ...limits,
        }
        const done = pumpEvents(session)
          .then(() => raw.end(endFrame('token_expired')))
          .catch((error: unknown) =>
            endStream(raw, error, (failure) => request.log.warn({ err: failure }, 'an event stream failed')),
          )
          .then(stop)
        running.add(done)
        void done.finally(() => running.delete(done))
      } catch (error) {
        stop()
        throw error
      }
    },
  )
}

const STOPPING = new Problem('shutting_down', 'This process is stopping.', { retryAfterSeconds: 1 })
const STOPPED: Readonly<Record<StopReason, Problem>> = {
  workspace_suspended: new Problem('workspace_suspended', 'The workspace of this token is suspended.'),
  token_ended: tokenRefused(),
}
const GONE = Symbol('the client has gone')

/** Takes the answer out of Fastify's hands: head sent, signal aborted when the client goes or the process stops. */
function takeOver(reply: FastifyReply, stopping: AbortSignal): { raw: ServerResponse; signal: AbortSignal } {
  // Between the routing and here the process may have begun to stop.
  stopping.throwIfAborted()
  reply.hijack()
  const { raw } = reply
  const headers = Object.entries(reply.getHeaders()).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  )
  raw.writeHead(200, {
    ...Object.fromEntries(headers),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    // Nginx would hold the events back to fill its buffers.
    'x-accel-buffering': 'no',
    // Nothing follows a stream on its connection, and an idle one would hold up the stop of the process.
    connection: 'close',
  })
  const ended = new AbortController()
  const onStop = (): void => ended.abort(stopping.reason)
  stopping.addEventListener('abort', onStop, { once: true })
  raw.once('close', () => {
    stopping.removeEventListener('abort', onStop)
    ended.abort(GONE)
  })
  // It may have gone while the first events were read: `close` will not come again.
  if (raw.closed) ended.abort(GONE)
  return { raw, signal: ended.signal }
}

function endStream(raw: ServerResponse, error: unknown, report: (failure: unknown) => void): void {
  if (error === GONE) return
  if (error instanceof StalledReader || raw.writableNeedDrain) {
    // It does not read: last words would never arrive, and `end` would wait for them.
    raw.destroy()
    return
  }
  const stopped = Object.entries(STOPPED).find(([, problem]) => problem === error)?.[0]
  const reason = error === STOPPING ? 'shutting_down' : (stopped ?? 'failed')
  if (reason === 'failed') report(error)
  raw.end(endFrame(reason))
}

const frame = (event: LoggedEvent): string =>
  eventFrame(encodePosition(positionOf(event)), JSON.stringify(asDocument(event)))

const asFilter = ({ trace_id, job_id, ...filter }: EventFilterQuery): EventFilter => ({
  ...filter,
  traceId: trace_id,
  jobId: job_id,
})

const asDocument = ({
  horizon: _,
  xid,
  seq,
  at,
  ...event
}: LoggedEvent & { horizon?: string }): EventDocument => ({
  id: encodePosition({ xid, seq }),
  at: at.toISOString(),
  ...event,
})
