import type { RouteOptions } from 'fastify'
import { Problem } from '../../problems.ts'
import type { Principal } from '../auth/principal.ts'
import type { HttpServer } from './http-server.ts'

/** Who may call a route. Every route must say it: a server with a silent route does not start. */
export type Access = 'public' | { readonly scope: string } | { readonly role: string }

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
  interface FastifyRequest {
    /** Who calls, from the verified token. Reading it on a public route throws. */
    readonly principal: Principal
  }
}

/** Turns an `Authorization` header into a principal. Errors: `auth_required`, `workspace_suspended`. */
export type Authenticate = (authorization: string | undefined) => Promise<Principal>

const PRINCIPAL = Symbol('principal')

/** Checks token, then scope or role, before a byte of the body is read. */
export function addAccessControl(app: HttpServer, authenticate: Authenticate | undefined): void {
  app.decorateRequest('principal', {
    getter(this: object) {
      const principal = (this as { [PRINCIPAL]?: Principal })[PRINCIPAL]
      if (!principal) throw new Error('the principal of a public route was read')
      return principal
    },
  })

  const routes: RouteOptions[] = []
  app.addHook('onRoute', (route) => {
    routes.push(route)
  })
  // Checked when all is registered: a plugin's own scope may add the declaration to its routes.
  app.addHook('onReady', async () => {
    for (const { method, url, config } of routes) {
      if (config?.access === undefined)
        throw new Error(`${String(method)} ${url} does not declare config.access`)
      if (config.access !== 'public' && !authenticate)
        throw new Error(`${String(method)} ${url} needs a token but this server has no authentication`)
    }
  })

  app.addHook('onRequest', async (request) => {
    const access = request.routeOptions.config.access
    // Unmatched paths have no config; they go on to the 404 answer.
    if (access === undefined || access === 'public' || !authenticate) return
    const principal = await authenticate(request.headers.authorization)
    if ('scope' in access && !principal.scopes.has(access.scope))
      throw new Problem('forbidden', `This needs the scope ${access.scope}.`)
    if ('role' in access && !principal.roles.has(access.role))
      throw new Problem('forbidden', `This needs the role ${access.role}.`)
    ;(request as { [PRINCIPAL]?: Principal })[PRINCIPAL] = principal
  })
}
