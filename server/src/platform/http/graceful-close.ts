import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { HttpServer } from './http-server.ts'

/** Where a connection that was made while the server began to stop gets the time for the request it was made for. */
const LATE_REQUEST_MS = 500

/**
 * Lets `close` wait for requests and for nothing else. Gives whether the server is stopping.
 *
 * Node ends connections that are idle after a request, at the moment of `close`. It does not end those that become idle
 * later, nor those on which nothing was ever sent: browsers and balancers open some ahead, and each would hold up the
 * stop until its headers are overdue (measured: 60 s).
 */
export function addGracefulClose(app: HttpServer): () => boolean {
  let stopping = false
  const silent = new Set<Socket>()
  // The bytes of a TLS connection are those of its handshake, too.
  const end = (socket: Socket): void => {
    if (silent.has(socket) && (socket.bytesRead === 0 || socket instanceof TLSSocket)) socket.destroy()
  }
  const watch = (socket: Socket): void => {
    silent.add(socket)
    socket.once('close', () => silent.delete(socket))
    if (stopping) setTimeout(() => end(socket), LATE_REQUEST_MS).unref()
  }
  app.server.on('connection', watch)
  app.server.on('secureConnection', watch)
  app.server.on('request', ({ socket }) => silent.delete(socket))
  app.addHook('preClose', async () => {
    stopping = true
    for (const socket of silent) end(socket)
  })
  app.addHook('onResponse', (_request, _reply, done) => {
    if (stopping) setImmediate(() => app.server.closeIdleConnections())
    done()
  })
  return () => stopping
}
