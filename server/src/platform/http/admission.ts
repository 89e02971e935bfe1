import type { FastifyContextConfig } from 'fastify'
import type { HttpServer } from './http-server.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * The class of work that the route is, for servers that refuse some of it when there is too much. Absent: a GET
     * with a token is `read`; other routes are always let in and may decide for themselves.
     */
    work?: string
  }
}

/** Throws when work of this class is not taken now. */
export type Admit = (work: string) => void

/** The class of work that a route is; undefined for one that is always let in. */
export function workOf(
  method: string | readonly string[],
  { access, work }: FastifyContextConfig,
): string | undefined {
  const isRead = method === 'GET' && access !== undefined && access !== 'public'
  return work ?? (isRead ? 'read' : undefined)
}

/** Asks before a byte of the body is read whether there is room for the work that a route is. */
export function addAdmission(app: HttpServer, admit: Admit): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const work = workOf(request.method, request.routeOptions.config)
    if (work !== undefined) admit(work)
    done()
  })
}
