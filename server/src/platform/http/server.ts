import type { IncomingMessage } from 'node:http'
import type { Server } from 'node:https'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { type FastifyBaseLogger, fastify, LogController } from 'fastify'
import { PROBLEMS, Problem } from '../../problems.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { type AccessControl, addAccessControl } from './access.ts'
import { addAddressGate } from './address-gate.ts'
import { type Admit, addAdmission } from './admission.ts'
import { callLog } from './call-log.ts'
import { addCallContext, requestIdOf, unboundCall } from './context.ts'
import { addGracefulClose } from './graceful-close.ts'
import type { HttpServer } from './http-server.ts'
import { addJsonParser, refuseEncodedBody } from './json-body.ts'
import { addOpenApi, type OpenApiInfo } from './open-api.ts'
import { addProbes, type ReadinessCheck } from './probes.ts'
import { addProblemAnswers, answerBrokenClient, answerProblem, asProblem } from './problem-answers.ts'
import { addSecurityHeaders } from './security-headers.ts'
import { addTimeLimit } from './time-limit.ts'
import { followTlsFiles, readTlsFiles, type TlsFiles, type TlsMaterial, tlsOptions } from './tls-files.ts'
import { addValidation } from './validation.ts'

export type { HttpServer }

export interface HttpServerOptions {
  readonly log: Log
  readonly metrics: Metrics
  /** Addresses or CIDRs of proxies whose `X-Forwarded-*` headers are believed; empty = none. */
  readonly trustedProxies: readonly string[]
  readonly bodyLimitBytes: number
  /** The hub's own limit for one request, from routing to the last byte of the answer. */
  readonly handlerTimeoutMs: number
  readonly checks: readonly ReadinessCheck[]
  /** Absent on servers that have public routes only. */
  readonly access?: AccessControl
  /** Networks from which calls are answered; absent = from everywhere. */
  readonly allowFrom?: readonly string[]
  /** Refuses work when there is too much of it. Absent on servers that take everything. */
  readonly admit?: Admit
  /** Absent on servers that speak plain HTTP. */
  readonly tls?: TlsFiles | undefined
  /** Absent on servers that publish no API. */
  readonly openApi?: OpenApiInfo
}

/** A request must arrive whole within this time, headers and body: ends slow senders (Fastify's default is no limit). */
const REQUEST_TIMEOUT_MS = 30_000
const CONNECTION_TIMEOUT_MS = 60_000
/** Longer than the idle time-out of common load balancers (60 s), so that the balancer closes first. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000
const MAX_HEADER_BYTES = 16_384

// Node would answer a missing Host with an empty 400; a hook says what is wrong.
const HTTP_OPTIONS = { maxHeaderSize: MAX_HEADER_BYTES, requireHostHeader: false }
/** Node waits two minutes. */
const HANDSHAKE_TIMEOUT_MS = 10_000

/** Fastify's type of a server with TLS is another one, with the same members: routes need not know. */
const secure = (material: TlsMaterial): object => ({
  https: { ...tlsOptions(material), ...HTTP_OPTIONS, handshakeTimeout: HANDSHAKE_TIMEOUT_MS },
})

/** A server with every limit set and every failure rendered as a problem. Routes are added by the caller. */
export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const tls = options.tls && { files: options.tls, material: await readTlsFiles(options.tls) }
  const app: HttpServer = fastify({
    loggerInstance: options.log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    // The hooks below give each request its own.
    childLoggerFactory: (log) => log,
    requestIdHeader: false,
    genReqId: (raw) => requestIdOf(raw.headers),
    trustProxy: options.trustedProxies.length > 0 ? [...options.trustedProxies] : false,
    bodyLimit: options.bodyLimitBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    http: HTTP_OPTIONS,
    ...(tls && secure(tls.material)),
    // Fastify's own 503 is not a problem document; the hook below answers instead.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 256 },
    clientErrorHandler: answerBrokenClient,
    // Bad URLs fail before any hook has run: the answer gets its ids here.
    frameworkErrors: (error, request, reply) => {
      request.call = unboundCall(String(request.id))
      request.log = callLog(app.log, request.call)
      answerProblem(request, reply, asProblem(error))
    },
  }).withTypeProvider<TypeBoxTypeProvider>()

  if (tls) {
    const stop = followTlsFiles(app.server as unknown as Server, tls.files, tls.material, options)
    app.addHook('onClose', stop)
  }
  addValidation(app)
  addJsonParser(app)
  addProblemAnswers(app)
  addTimeLimit(app, options.handlerTimeoutMs)
  addCallContext(app, (request, status, seconds) =>
    options.metrics.httpRequest.observe(
      { method: request.method, route: request.routeOptions.url ?? 'unmatched', status: String(status) },
      seconds,
    ),
  )
  const isStopping = addGracefulClose(app)
  app.addHook('onRequest', (request, reply, done) => {
    if (isStopping() && request.routeOptions.url !== '/ready') {
      reply.header('connection', 'close')
      throw new Problem('shutting_down', 'This process is stopping.', { retryAfterSeconds: 1 })
    }
    refuseBadHost(request.raw)
    refuseBrokenUrl(request.raw.url ?? '')
    refuseEncodedBody(request)
    done()
  })
  if (options.allowFrom) addAddressGate(app, options.allowFrom)
  addAccessControl(app, options.access)
  if (options.admit) addAdmission(app, options.admit)
  await addSecurityHeaders(app)
  if (options.openApi)
    await addOpenApi(app, options.openApi, {
      sheds: options.admit !== undefined,
      needsOf: (permission) => options.access?.authorization.needs(permission) ?? '',
    })
  addProbes(app, {
    checks: options.checks,
    isStopping,
    metricsText: () => options.metrics.registry.metrics(),
    metricsType: options.metrics.registry.contentType,
  })
  addProblemPages(app)
  // Node would answer an expectation that it does not know with an empty 417; it may be ignored (RFC 9110 §10.1.1).
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))
  return app
}

/**
 * Exactly one Host, as RFC 9112 §3.2 demands; HTTP/1.0 may have none. With two, proxies and the hub could disagree
 * on which one counts (research: Node accepts them).
 */
function refuseBadHost({ rawHeaders, httpVersion }: IncomingMessage): void {
  let count = 0
  // Names and values in turn.
  for (let at = 0; at < rawHeaders.length; at += 2) if (rawHeaders[at]?.toLowerCase() === 'host') count += 1
  if (count > 1) throw new Problem('malformed_request', 'The request has more than one Host header.')
  if (count === 0 && httpVersion !== '1.0')
    throw new Problem('malformed_request', 'The request has no Host header.')
}

/** The router refuses paths that are not percent-encoded UTF-8; queries it would read as whatever comes out. */
function refuseBrokenUrl(url: string): void {
  if (!url.includes('%')) return
  if (url.includes('%00'))
    throw new Problem('malformed_request', 'The URL holds the character U+0000, which is not accepted.')
  try {
    decodeURIComponent(url)
  } catch (cause) {
    throw new Problem('malformed_request', 'The URL is not validly encoded.', { cause })
  }
}

/** `type` of a problem document is a path on the same server: here is what it leads to. */
function addProblemPages(app: HttpServer): void {
  app.get('/problems/:code', { config: { access: 'public' }, schema: { hide: true } }, async (request) => {
    const { code } = request.params as { code: string }
    const kind = Object.hasOwn(PROBLEMS, code) ? PROBLEMS[code as keyof typeof PROBLEMS] : undefined
    if (!kind) throw new Problem('route_not_found', 'There is no such kind of problem.')
    return { code, ...kind }
  })
}
