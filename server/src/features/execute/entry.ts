import type { Ended, Execution } from './execution.ts'
import type { Entry } from './request-log.ts'

/** What an execution leaves behind. */
export function entryOf(execution: Execution, configVersion: number, ended: Ended, at: Date): Entry {
  const { outcome, attempts, failures } = ended
  const { principal, call: ids, connector, operation, metadata } = execution
  const names = {
    tenant_id: principal.tenantId,
    connector,
    request_id: ids.requestId,
    correlation_id: ids.correlationId,
    trace_id: ids.traceId,
  }
  return {
    row: {
      ...names,
      id: ended.logId,
      at: at.toISOString(),
      operation,
      subject: principal.subject,
      outcome,
      http_status: ended.httpStatus,
      attempts,
      latency_ms: ended.latencyMs,
      dry_run: execution.dryRun ?? false,
      config_version: configVersion,
      idempotency_key: ended.idempotencyKey,
      metadata: metadata ?? {},
    },
    event: {
      ...names,
      type: outcome === 'ok' ? 'execution.succeeded' : 'execution.failed',
      severity: outcome === 'ok' ? 'info' : 'warning',
      message: ended.message,
      data: {
        execution_id: ended.logId,
        operation,
        outcome,
        attempts,
        latency_ms: ended.latencyMs,
        retries: failures.map(({ attempt, failure, decision }) => ({
          attempt,
          kind: failure.kind,
          why: decision.why,
        })),
        ...(ended.servedFrom && { served_from: ended.servedFrom }),
        ...(ended.wouldHave.length > 0 && { would_have: ended.wouldHave }),
      },
    },
  }
}
