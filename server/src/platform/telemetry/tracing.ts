import { context, propagation, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  NodeTracerProvider,
} from '@opentelemetry/sdk-trace-node'

/**
 * Starts tracing for this Node process, once. Without an endpoint spans are not recorded, but every request
 * still gets a valid trace id that goes into logs, events, jobs and calls (W3C Trace Context).
 * Returns the way to send what is left and stop.
 */
export function startTracing(options: {
  readonly serviceName: string
  /** Base URL of an OTLP/HTTP collector; spans go to `<endpoint>/v1/traces`. */
  readonly endpoint?: string | undefined
}): () => Promise<void> {
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ 'service.name': options.serviceName }),
    sampler: options.endpoint ? new AlwaysOnSampler() : new AlwaysOffSampler(),
    spanProcessors: options.endpoint
      ? [
          new BatchSpanProcessor(
            new OTLPTraceExporter({ url: `${options.endpoint.replace(/\/$/, '')}/v1/traces` }),
          ),
        ]
      : [],
  })
  provider.register()
  return async () => {
    await provider.shutdown()
    // Lets tests start tracing again in the same process.
    trace.disable()
    context.disable()
    propagation.disable()
  }
}
