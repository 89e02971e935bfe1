import helmet from '@fastify/helmet'
import { fastify } from 'fastify'
import type { HttpServer } from './http-server.ts'

export type SecurityHeaders = Readonly<Record<string, string>>

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a route sends in place of the server's own ones. */
    securityHeaders?: SecurityHeaders
  }
}

/**
 * What helmet sends with a content security policy of these directives and no others. It works the same headers out
 * anew for every answer, which costs as much as the routing: so it is asked once, on a server of its own.
 */
export async function securityHeaders(directives: Record<string, string[]>): Promise<SecurityHeaders> {
  const app = fastify()
  await app.register(helmet, {
    contentSecurityPolicy: { useDefaults: false, directives },
    // TLS ends at the proxy in front; it owns this header.
    strictTransportSecurity: false,
  })
  let headers: SecurityHeaders = {}
  app.get('/', async (_request, reply) => {
    headers = reply.raw.getHeaders() as SecurityHeaders
    return ''
  })
  await app.inject('/')
  await app.close()
  return headers
}

/** For servers that send data: a browser that shows an answer as a page may load nothing and frame nothing. */
export async function addSecurityHeaders(app: HttpServer): Promise<void> {
  const standard = await securityHeaders({ defaultSrc: ["'none'"], frameAncestors: ["'none'"] })
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers(request.routeOptions.config.securityHeaders ?? standard)
    done()
  })
}
