import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { authorOf } from '../audit/audit.ts'
import {
  BlockedPage,
  BlockedQuery,
  ConnectorParams,
  ControlBody,
  ControlResult,
  QueueParams,
  QueuesView,
} from './queues.schema.ts'
import { listBlocked, readQueues, type SwitchDeps, turn } from './queues.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [number] =>
  parts.length === 1 && Number.isInteger(parts[0]) && Math.abs(Number(parts[0])) < 2 ** 31

const read = { access: { permission: 'queues.read' } }
const write = { access: { permission: 'queues.control' } }
const tags = ['queues']

/** `/queues` of the control plane: what waits, and pausing a queue, a connector or everything. */
export function queuesControl(app: HttpServer, deps: SwitchDeps): void {
  const { db } = deps
  app.get(
    '/queues',
    {
      config: read,
      schema: {
        operationId: 'listQueues',
        tags,
        summary: 'What waits, runs and rests in each queue of this workspace',
        response: { 200: QueuesView },
      },
    },
    async ({ principal }) => readQueues(db, principal.tenantId),
  )

  app.get(
    '/queues/blocked',
    {
      config: read,
      schema: {
        operationId: 'listBlockedConnectors',
        tags,
        summary: 'Connectors whose jobs do not start now, and why',
        querystring: BlockedQuery,
        response: { 200: BlockedPage },
      },
    },
    async ({ principal: { tenantId }, query: { cursor, limit = 50 } }) => {
      const afterLane = cursor === undefined ? 0 : decodeCursor(cursor, isKey)[0]
      const rows = await listBlocked(db, { tenantId, afterLane, limit: limit + 1 })
      return pageOf(
        rows,
        limit,
        ({ lane }) => [lane],
        ({ lane: _lane, ...view }) => view,
      )
    },
  )

  for (const verb of ['pause', 'resume'] as const) {
    const paused = verb === 'pause'
    const Verb = paused ? 'Pause' : 'Resume'
    const common = { tags, body: ControlBody, response: { 200: ControlResult } }

    app.post(
      `/queues/${verb}`,
      {
        config: write,
        schema: {
          ...common,
          operationId: `${verb}Queues`,
          summary: `${Verb} all jobs of this workspace`,
        },
      },
      async ({ principal, body, call }) =>
        turn(deps, principal.tenantId, { kind: 'workspace' }, paused, {
          ...authorOf(principal),
          reason: body.reason,
          call,
        }),
    )

    app.post(
      `/queues/:queue/${verb}`,
      {
        config: write,
        schema: {
          ...common,
          operationId: `${verb}Queue`,
          summary: `${Verb} one queue of this workspace`,
          params: QueueParams,
        },
      },
      async ({ principal, params, body, call }) =>
        turn(deps, principal.tenantId, { kind: 'queue', queue: params.queue }, paused, {
          ...authorOf(principal),
          reason: body.reason,
          call,
        }),
    )

    app.post(
      `/connectors/:name/${verb}`,
      {
        config: write,
        schema: {
          ...common,
          operationId: `${verb}Connector`,
          summary: paused
            ? 'Pause the jobs of a connector in all queues'
            : 'Resume the jobs of a connector; this also ends a block, e.g. by Retry-After, and the wait of its snoozed jobs',
          params: ConnectorParams,
        },
      },
      async ({ principal, params, body, call }) =>
        turn(deps, principal.tenantId, { kind: 'connector', connector: params.name }, paused, {
          ...authorOf(principal),
          reason: body.reason,
          call,
        }),
    )
  }
}
