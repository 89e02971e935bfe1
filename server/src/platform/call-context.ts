import { type Context, context, propagation, trace } from '@opentelemetry/api'
import { newId } from './ids.ts'

/**
 * What ties everything that one call causes together: it goes into log lines, events, jobs, attempts,
 * callbacks and problem documents.
 */
export interface CallContext {
  readonly requestId: string
  readonly correlationId: string
  /** 32 hex digits (W3C Trace Context). */
  readonly traceId: string
  /** The header to send on and to store with a job, so that its attempts continue the same trace. */
  readonly traceparent: string
  /** Where the call came from and with what, when it came over HTTP: for the audit log. */
  readonly client?: { readonly ip: string; readonly userAgent: string | null }
}

/** For what nobody called for: the work of a process's own timers. */
export const ownCall = (): CallContext => {
  const id = newId()
  return { requestId: id, correlationId: id, traceId: id.replaceAll('-', ''), traceparent: '' }
}

/** The `traceparent` header (W3C Trace Context §3.2) of a context's span. */
export function traceparentOf(active: Context = context.active()): string {
  const carrier: Record<string, string> = {}
  propagation.inject(active, carrier)
  return carrier.traceparent ?? ''
}

/** The trace id of a context's span, 32 hex digits; zeros when there is no span. */
export const traceIdOf = (active: Context = context.active()): string =>
  trace.getSpanContext(active)?.traceId ?? '0'.repeat(32)

/** The context that continues the trace of a stored `traceparent`. A missing or broken one starts a new trace. */
export const contextFrom = (traceparent: string | undefined): Context =>
  propagation.extract(context.active(), traceparent ? { traceparent } : {})
