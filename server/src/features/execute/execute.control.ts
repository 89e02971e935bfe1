import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, encodeCursor } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { authorOf } from '../audit/audit.ts'
import {
  ExecutionDetail,
  ExecutionPage,
  ExecutionParams,
  ExecutionsQuery,
  type ExecutionView,
  SettleBody,
  SettleResult,
} from './executions.schema.ts'
import { type ExecutionRow, getExecution, listExecutions, settleExecution } from './executions.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const view = (row: ExecutionRow): ExecutionView => ({
  execution_id: row.execution_id,
  state: row.state,
  key: row.key,
  connector: row.connector,
  operation: row.operation,
  config_version: row.config_version,
  subject: row.subject,
  repeatable: row.repeatable,
  runs: row.lease,
  lease_until: row.lease_until.toISOString(),
  outcome: row.outcome,
  http_status: row.status,
  settled_by: row.settled_by,
  next_try_at: row.next_try_at?.toISOString() ?? null,
  unknown_since: row.unknown_since?.toISOString() ?? null,
  request_id: row.request_id,
  correlation_id: row.correlation_id,
  trace_id: row.trace_id,
  created_at: row.created_at.toISOString(),
  expires_at: row.expires_at.toISOString(),
})

/** `/executions` of the control plane: those that have a key, and settling those whose outcome is unknown. */
export function executeControl(app: HttpServer, { db }: { readonly db: Db }): void {
  const read = { permission: 'executions.read' }
  const tags = ['executions']

  app.get(
    '/executions',
    {
      config: { access: read, answers: { problems: [] } },
      schema: {
        operationId: 'listExecutions',
        tags,
        summary: 'Executions whose key is remembered, newest first',
        description:
          'With a filter other than `state=unknown` alone a page looks at 2,000 executions at most: it may be short and still have a `next_cursor`.',
        querystring: ExecutionsQuery,
        response: { 200: ExecutionPage },
      },
    },
    async ({ principal, query }) => {
      const { cursor, limit = 50, state, connector } = query
      const { rows, next } = await listExecutions(db, {
        tenantId: principal.tenantId,
        state,
        connector,
        beforeId: cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0],
        limit,
      })
      return { data: rows.map(view), next_cursor: next === undefined ? null : encodeCursor([next]) }
    },
  )

  app.get(
    '/executions/:id',
    {
      config: { access: read, answers: { problems: ['not_found'] } },
      schema: {
        operationId: 'getExecution',
        tags,
        summary: 'One execution with its stored answer',
        params: ExecutionParams,
        response: { 200: ExecutionDetail },
      },
    },
    async ({ principal, params }) => {
      const row = await getExecution(db, principal.tenantId, params.id)
      return {
        ...view(row),
        input: row.input ?? null,
        answer: row.answer === null ? null : (JSON.parse(row.answer) as unknown),
      }
    },
  )

  app.post(
    '/executions/:id/settle',
    {
      config: {
        access: { permission: 'executions.settle' },
        answers: { problems: ['not_found', 'conflict'] },
      },
      schema: {
        operationId: 'settleExecution',
        tags,
        summary: 'Enter what came of an execution whose outcome is unknown',
        params: ExecutionParams,
        body: SettleBody,
        response: { 200: SettleResult },
      },
    },
    async ({ principal, params, body, call }) => {
      const { outcome, output, reason } = body
      if (outcome === 'not_done' && output !== undefined) throw noOutput()
      const settlement = { tenantId: principal.tenantId, id: params.id, outcome, output }
      await settleExecution(db, settlement, { ...authorOf(principal), reason, call })
      return { execution_id: params.id, outcome }
    },
  )
}

function noOutput(): Problem {
  const [path, message] = ['/body/output', 'belongs to an execution that is done']
  return new Problem('validation_error', `${path} ${message}.`, { details: [{ path, message }] })
}
