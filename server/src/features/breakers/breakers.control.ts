import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { authorOf } from '../audit/audit.ts'
import {
  BreakerPage,
  BreakerParams,
  BreakerQuery,
  BreakerView,
  ForceBody,
  ReleaseBody,
} from './breakers.schema.ts'
import { type BreakerDeps, forceBreaker, listBreakers, readBreaker, releaseBreaker } from './breakers.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && /^[a-z0-9-]{1,63}$/.test(parts[0])

const read = { access: { permission: 'breakers.read' } }
const write = { access: { permission: 'breakers.control' } }
const tags = ['breakers']

/** `/breakers` of the control plane: what the circuit breakers say, and forcing them. Works with Redis and exec down. */
export function breakersControl(app: HttpServer, deps: BreakerDeps): void {
  const { db } = deps
  app.get(
    '/breakers',
    {
      config: read,
      schema: {
        operationId: 'listBreakers',
        tags,
        summary: 'Circuit breakers that have ever opened or been forced, by connector',
        querystring: BreakerQuery,
        response: { 200: BreakerPage },
      },
    },
    async ({ principal: { tenantId }, query: { cursor, limit = 50 } }) => {
      const afterConnector = cursor === undefined ? '' : decodeCursor(cursor, isKey)[0]
      const rows = await listBreakers(db, { tenantId, afterConnector, limit: limit + 1 })
      return pageOf(
        rows,
        limit,
        ({ connector }) => [connector],
        (view) => view,
      )
    },
  )

  app.get(
    '/breakers/:connector',
    {
      config: read,
      schema: {
        operationId: 'getBreaker',
        tags,
        summary: 'The circuit breaker of one connector',
        params: BreakerParams,
        response: { 200: BreakerView },
      },
    },
    async ({ principal: { tenantId }, params: { connector } }) => readBreaker(db, { tenantId, connector }),
  )

  app.post(
    '/breakers/:connector/force',
    {
      config: write,
      schema: {
        operationId: 'forceBreaker',
        tags,
        summary: 'Open or close a circuit breaker by hand, for a time',
        params: BreakerParams,
        body: ForceBody,
        response: { 200: BreakerView },
      },
    },
    async ({ principal, params: { connector }, body, call }) =>
      forceBreaker(
        deps,
        { tenantId: principal.tenantId, connector },
        { state: body.state, forMs: body.for_ms },
        { ...authorOf(principal), reason: body.reason, call },
      ),
  )

  app.post(
    '/breakers/:connector/release',
    {
      config: write,
      schema: {
        operationId: 'releaseBreaker',
        tags,
        summary: 'End what was forced: the circuit breaker decides for itself again',
        params: BreakerParams,
        body: ReleaseBody,
        response: { 200: BreakerView },
      },
    },
    async ({ principal, params: { connector }, body, call }) =>
      releaseBreaker(
        deps,
        { tenantId: principal.tenantId, connector },
        { ...authorOf(principal), reason: body.reason, call },
      ),
  )
}
