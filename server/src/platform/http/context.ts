import {
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import type { FastifyRequest } from 'fastify'
import { type CallContext, traceIdOf, traceparentOf } from '../call-context.ts'
import { newId } from '../ids.ts'
import { callLog, idsOf } from './call-log.ts'
import type { HttpServer } from './http-server.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Ids of this request, set before anything else runs. */
    call: CallContext
  }
}

const tracer = trace.getTracer('orchestrator.http')
/** Asked every few seconds by machines: their lines would drown the others. */
const PROBES = new Set(['/health', '/ready', '/metrics', '/status'])
const MAX_USER_AGENT = 300
const ACCEPTED_ID = /^[A-Za-z0-9._:-]{1,128}$/

/** An id that the caller sent, when it is harmless; otherwise undefined and a new one is made. */
function acceptedId(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' && ACCEPTED_ID.test(header) ? header : undefined
}

/** The id of a request before its context exists (Fastify names the request with it). */
export const requestIdOf = (headers: FastifyRequest['headers']): string =>
  acceptedId(headers['x-request-id']) ?? newId()

/** The context of a request that failed before it had a span: its ids are still in the answer. */
export const unboundCall = (requestId: string): CallContext => ({
  requestId,
  correlationId: requestId,
  traceId: '0'.repeat(32),
  traceparent: '',
})

/** The caller's trace goes on when its `traceparent` is valid (W3C Trace Context §3.2), else a new one starts. */
function incomingContext(request: FastifyRequest): Context {
  const { traceparent, tracestate } = request.headers
  return typeof traceparent === 'string'
    ? propagation.extract(ROOT_CONTEXT, { traceparent, ...(tracestate && { tracestate }) })
    : ROOT_CONTEXT
}

/**
 * Gives every request its ids, its span and a logger that carries them; names them in the answer's headers;
 * writes one log line and one metric when it has been answered.
 */
export function addCallContext(
  app: HttpServer,
  observe: (request: FastifyRequest, status: number, seconds: number) => void,
): void {
  app.decorateRequest('call')
  // Looking for names of secrets would be half the cost of a line whose fields are all named below.
  const answered = app.log.child({}, { redact: [] })

  app.addHook('onRequest', (request, reply, done) => {
    const parent = incomingContext(request)
    const route = request.routeOptions.url ?? 'unmatched'
    const span = tracer.startSpan(`${request.method} ${route}`, { kind: SpanKind.SERVER }, parent)
    const active = trace.setSpan(parent, span)
    const requestId = String(request.id)
    request.call = {
      requestId,
      correlationId: acceptedId(request.headers['x-correlation-id']) ?? requestId,
      traceId: traceIdOf(active),
      traceparent: traceparentOf(active),
      client: { ip: request.ip, userAgent: request.headers['user-agent']?.slice(0, MAX_USER_AGENT) ?? null },
    }
    request.log = callLog(app.log, request.call)
    reply.log = request.log
    reply.header('x-request-id', requestId)
    reply.header('x-correlation-id', request.call.correlationId)
    reply.header('traceparent', request.call.traceparent)
    reply.raw.once('close', () => {
      span.setAttributes({
        'http.request.method': request.method,
        'http.route': route,
        'http.response.status_code': reply.statusCode,
      })
      if (reply.statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
      span.end()
      observe(request, reply.statusCode, reply.elapsedTime / 1000)
      answered[PROBES.has(route) ? 'debug' : 'info'](
        {
          ...idsOf(request.call),
          method: request.method,
          route,
          status: reply.statusCode,
          elapsed_ms: Math.round(reply.elapsedTime),
        },
        'request answered',
      )
    })
    context.with(active, done)
  })
}
