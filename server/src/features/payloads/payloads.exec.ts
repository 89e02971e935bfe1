import type { HttpServer } from '../../platform/http/http-server.ts'
import { BYTES_ANSWERS } from './documented.ts'
import { PayloadBytes, PayloadParams } from './payloads.schema.ts'
import type { Payloads } from './payloads.ts'
import { sendPayload } from './send-payload.ts'

/** `GET /payloads/:id` for products: what a job's `input_ref` or `result_ref` names. */
export function payloadsExec(app: HttpServer, { payloads }: { readonly payloads: Payloads }): void {
  app.get(
    '/payloads/:id',
    {
      config: { access: { permission: 'payloads.read' }, answers: BYTES_ANSWERS },
      exposeHeadRoute: false,
      schema: {
        operationId: 'readPayload',
        tags: ['jobs'],
        summary: 'The bytes of an input or result that was too large to be shown with its job',
        params: PayloadParams,
        response: { 200: PayloadBytes },
      },
    },
    async ({ principal, params }, reply) => sendPayload(reply, payloads, principal.tenantId, params.id),
  )
}
