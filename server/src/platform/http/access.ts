import type { FastifyRequest, RouteOptions } from 'fastify'
import { Problem } from '../../problems.ts'
import type { Principal } from '../auth/principal.ts'
import { asRequestOf } from '../db/request-db.ts'
import type { HttpServer } from './http-server.ts'

/** Who may call a route. Every route must say it: a server with a silent route does not start. */
export type Access = 'public' | { readonly permission: string }

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
  interface FastifyRequest {
    /** Who calls, from the verified token. Reading it on a public route throws. */
    readonly principal: Principal
  }
}

/** What of a request says who calls: its headers, its connection with the client's certificate, its address. */
export type Credentials = Pick<FastifyRequest, 'headers' | 'socket' | 'ip'>

/** Finds out who calls. Errors: `auth_required`, `workspace_suspended`. */
export type Authenticate = (credentials: Credentials) => Promise<Principal>

/** Knows what the permissions mean that routes name. */
export interface Authorization {
  knows(permission: string): boolean
  /** Why the caller may not; undefined = may. */
  refusal(principal: Principal, permission: string): string | undefined
  /** What a caller needs, for the documentation of a route. */
  needs(permission: string): string
}

/** How a server knows its callers and what they may do. */
export interface AccessControl {
  readonly authenticate: Authenticate
  readonly authorization: Authorization
}

const PRINCIPAL = Symbol('principal')

/** Checks token, then permission, before a byte of the body is read. */
export function addAccessControl(app: HttpServer, control: AccessControl | undefined): void {
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
      const access = config?.access
      if (access === undefined) throw new Error(`${String(method)} ${url} does not declare config.access`)
      if (access === 'public') continue
      if (!control)
        throw new Error(`${String(method)} ${url} needs a token but this server has no authentication`)
      if (!control.authorization.knows(access.permission))
        throw new Error(
          `${String(method)} ${url} names the permission ${access.permission}, which nobody knows`,
        )
    }
  })

  app.addHook('onRequest', async (request) => {
    const access = request.routeOptions.config.access
    // Unmatched paths have no config; they go on to the 404 answer.
    if (access === undefined || access === 'public' || !control) return
    const principal = await control.authenticate(request)
    const refusal = control.authorization.refusal(principal, access.permission)
    if (refusal !== undefined) throw new Problem('forbidden', refusal)
    ;(request as { [PRINCIPAL]?: Principal })[PRINCIPAL] = principal
  })

  // Not before: what reads the body goes on in a context of its own.
  app.addHook('preHandler', (request, _reply, done) => {
    const principal = (request as { [PRINCIPAL]?: Principal })[PRINCIPAL]
    if (principal) asRequestOf(principal.tenantId, done)
    else done()
  })
}
