import { Problem } from '../../problems.ts'
import type { HttpServer } from './http-server.ts'

/**
 * Ends requests that take longer than `limitMs`, from routing to the last byte of the answer: with `hub_timeout`, or
 * by cutting the connection when the answer has begun. An answer that its route has taken over (`reply.hijack`) is
 * left alone. Not Fastify's `handlerTimeout`: that one stops its timer as soon as a body has been read, and makes
 * and aborts a signal for every request.
 */
export function addTimeLimit(app: HttpServer, limitMs: number): void {
  app.addHook('onRequest', (_request, reply, done) => {
    const timer = setTimeout(() => {
      if (reply.sent) return
      const problem = new Problem('hub_timeout', 'The hub did not finish in the time it allows itself.')
      if (reply.raw.headersSent) reply.raw.destroy(problem)
      else reply.send(problem)
    }, limitMs)
    reply.raw.once('close', () => clearTimeout(timer))
    done()
  })
}
