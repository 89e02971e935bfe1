import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface TcpRelay {
  /** The given URL with the relay in the place of host and port. */
  readonly url: string
  /** Breaks every connection and takes no new one, as a database that is away does. */
  cut(): Promise<void>
  /**
   * From now on drops what the server says on connections that began with this text, and on no others: they stay open,
   * and nobody notices. Gives how many were open.
   */
  deafen(introduction: string): number
  /** Takes connections again, on the same port. */
  mend(): Promise<void>
  close(): Promise<void>
}

/** A wire between a client and a server of this machine that a test can cut. */
export async function tcpRelay(target: string): Promise<TcpRelay> {
  const { hostname, port } = new URL(target)
  const sockets = new Set<Socket>()
  const deafened: string[] = []
  const deafeners = new Set<(introduction: string) => boolean>()
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname)
    client.once('data', (first) => {
      const deafen = (introduction: string) => {
        // Still read, so that the server does not notice either.
        const meant = first.includes(introduction)
        if (meant) upstream.unpipe(client).resume()
        return meant
      }
      for (const introduction of deafened) deafen(introduction)
      deafeners.add(deafen)
      client.once('close', () => deafeners.delete(deafen))
    })
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one)
      one.pipe(other)
      one
        .once('error', () => other.destroy())
        .once('close', () => {
          sockets.delete(one)
          other.destroy()
        })
    }
  })
  const listen = async (on: number): Promise<void> => {
    server.listen(on, '127.0.0.1')
    await once(server, 'listening')
  }
  const cut = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await closed
  }
  await listen(0)
  const own = (server.address() as AddressInfo).port
  const url = new URL(target)
  url.hostname = '127.0.0.1'
  url.port = String(own)
  const deafen = (introduction: string) => {
    deafened.push(introduction)
    return [...deafeners].filter((each) => each(introduction)).length
  }
  return { url: url.href, cut, deafen, mend: () => listen(own), close: cut }
}
