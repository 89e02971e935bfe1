import type { FastifyReply } from 'fastify'
import type { CallContext } from '../../platform/call-context.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { Problem } from '../../problems.ts'
import { PROVIDERS } from './providers/registry.ts'
import {
  ProviderParams,
  ProviderRouteParams,
  WebhookAccepted,
  WebhookQuarantined,
} from './webhooks.schema.ts'
import type { AcceptWebhook } from './webhooks.ts'

function providerOf(name: string) {
  const provider = PROVIDERS.get(name)
  if (!provider) throw new Problem('route_not_found', 'There is no such webhook provider.')
  return provider
}

/** A slash at the end of the plain address is no route id; ids are hexadecimal in whatever case. */
const routeIdOf = (text: string): string | undefined => (text === '' ? undefined : text.toLowerCase())

/**
 * `/webhooks/:provider` of the ingress process. A scope of its own, because here bodies stay bytes whatever
 * their content type says: a signature is over bytes, and parsed JSON cannot be turned back into them.
 */
export function webhooksIngress(
  app: HttpServer,
  deps: {
    readonly accept: AcceptWebhook
    readonly bodyLimitBytes: number
    /** Where providers reach this ingress, without a path; undefined = not known. */
    readonly publicUrl: string | undefined
  },
): void {
  app.register(async (scope: HttpServer) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
    // Before the body is read: nobody sends megabytes to a provider that is not there.
    scope.addHook('onRequest', async (request) => {
      providerOf((request.params as { provider: string }).provider)
    })

    const options = { config: { access: 'public', work: 'ingress' }, bodyLimit: deps.bodyLimitBytes } as const
    const tags = ['webhooks']
    const response = { 200: WebhookAccepted, 202: WebhookQuarantined }

    const accept = async (
      {
        raw,
        body,
        call,
      }: {
        raw: { url?: string | undefined; headersDistinct: NodeJS.Dict<string[]> }
        body: unknown
        call: CallContext
      },
      reply: FastifyReply,
      provider: string,
      routeId: string | undefined,
    ) => {
      const sender = providerOf(provider)
      const answer = await deps.accept({
        provider: sender,
        routeId,
        raw: Buffer.isBuffer(body) ? body : Buffer.alloc(0),
        headers: raw.headersDistinct,
        url: deps.publicUrl === undefined ? undefined : `${deps.publicUrl}${raw.url ?? ''}`,
        call,
      })
      const own = answer.kind === 'handshake' ? answer.reply : sender.reply
      // A provider with words of its own takes no others for a receipt, and would send for ever what nobody can have.
      const status = answer.kind === 'quarantined' ? 202 : (own?.status ?? 200)
      if (own) return reply.code(status).header('content-type', own.contentType).send(own.body)
      if (answer.kind === 'quarantined') return reply.code(status).send({ received: true, quarantined: true })
      const [first, ...more] = answer.kind === 'taken' ? answer.events : []
      if (!first) throw new Error('nothing was taken')
      return reply.send({
        received: true,
        inbox_id: first.inboxId,
        duplicate: [first, ...more].every(({ duplicate }) => duplicate),
      })
    }

    scope.post(
      '/webhooks/:provider',
      {
        ...options,
        schema: {
          operationId: 'receiveWebhook',
          tags,
          summary: 'Receive an event; the workspace is found by its account or by the secret that verifies',
          params: ProviderParams,
          response,
        },
      },
      async (request, reply) => accept(request, reply, request.params.provider, undefined),
    )

    scope.post(
      '/webhooks/:provider/:route_id',
      {
        ...options,
        schema: {
          operationId: 'receiveWebhookOfRoute',
          tags,
          summary: 'Receive an event for one webhook route',
          params: ProviderRouteParams,
          response,
        },
      },
      async (request, reply) =>
        accept(request, reply, request.params.provider, routeIdOf(request.params.route_id)),
    )
  })
}
