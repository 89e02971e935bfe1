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

/** Asks before a byte of the body is read whether there is room for the work that a route is. */
export function addAdmission(app: HttpServer, admit: Admit): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const { access, work } = request.routeOptions.config
    const isRead = request.method === 'GET' && access !== undefined && access !== 'public'
    const of = work ?? (isRead ? 'read' : undefined)
    if (of !== undefined) admit(of)
    done()
  })
}
