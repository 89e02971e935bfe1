import type { HttpServer } from '../../platform/http/http-server.ts'
import { idempotencyKeyOf } from '../../platform/http/idempotency-key.ts'
import { ExecuteBody, ExecuteHeaders, ExecuteResult } from './execute.schema.ts'
import type { Executor } from './execute.ts'

/** `POST /execute` for products. */
export function executeExec(app: HttpServer, executor: Pick<Executor, 'execute'>): void {
  app.post(
    '/execute',
    {
      config: { access: { scope: 'orchestrator.execute' } },
      schema: {
        operationId: 'execute',
        tags: ['execute'],
        summary: 'Run an operation of a connector now, under its policy',
        headers: ExecuteHeaders,
        body: ExecuteBody,
        response: { 200: ExecuteResult },
      },
    },
    async (request) => {
      const { body, principal, call } = request
      const result = await executor.execute({
        principal,
        call,
        connector: body.connector,
        operation: body.operation,
        input: body.input,
        limits: body.options,
        dryRun: body.options?.dry_run,
        metadata: body.options?.metadata,
        idempotencyKey: idempotencyKeyOf(request),
      })
      return {
        status: 'ok' as const,
        output: result.output,
        upstream: { http_status: result.httpStatus },
        attempts: result.attempts,
        latency_ms: result.latencyMs,
        idempotency: { key: result.idempotencyKey, replayed: false },
        request_id: call.requestId,
        trace_id: call.traceId,
      }
    },
  )
}
