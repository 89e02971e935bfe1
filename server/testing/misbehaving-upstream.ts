import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { brotliCompressSync, gzipSync } from 'node:zlib'

/** What a connection does; `number` counts them from 1 since the last `behave`. */
export type Behaviour = (socket: Socket, number: number) => void

export interface MisbehavingUpstream {
  readonly port: number
  /** Connections that are open at this moment. */
  readonly sockets: ReadonlySet<Socket>
  /** How many connections there have been since the last `behave`. */
  readonly connections: number
  behave(behaviour: Behaviour): void
  close(): Promise<void>
}

/** A TCP server that speaks whatever its behaviour writes. */
export async function startMisbehavingUpstream(): Promise<MisbehavingUpstream> {
  const sockets = new Set<Socket>()
  let behaviour: Behaviour = () => undefined
  let connections = 0
  const server = createServer((socket) => {
    sockets.add(socket)
    connections += 1
    // The other side ends it whenever it has seen enough.
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    behaviour(socket, connections)
    // A socket that nobody reads from does not hear that the other side is gone.
    socket.resume()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    get connections() {
      return connections
    },
    behave: (next) => {
      behaviour = next
      connections = 0
    },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Runs `answer` for every request on a connection, once its head has come; `number` counts them from 1. */
export const onRequest =
  (answer: (socket: Socket, number: number) => void): Behaviour =>
  (socket) => {
    let number = 0
    socket.on('data', (chunk: Buffer) => {
      if (!chunk.includes('HTTP/1.1\r\n')) return
      number += 1
      answer(socket, number)
    })
  }

export const says = (text: string | Buffer) => onRequest((socket) => socket.write(text))
export const saysAndEnds = (text: string) => onRequest((socket) => socket.end(text))
export const head = (...lines: string[]): string => ['HTTP/1.1 200 OK', ...lines, '', ''].join('\r\n')
export const answer = (body: string, ...lines: string[]): string =>
  head(`content-length: ${Buffer.byteLength(body)}`, ...lines) + body

/** Writes `before`, then resets the connection (RST, not FIN). */
export const resetsAfter = (before: string) =>
  onRequest((socket) => {
    if (before === '') socket.resetAndDestroy()
    else socket.write(before, () => socket.resetAndDestroy())
  })

/** `before` at once, then one character of `text` every second, over and over. */
export const drips = (before: string, text: string) =>
  onRequest((socket) => {
    if (before !== '') socket.write(before)
    let at = 0
    const timer = setInterval(() => {
      socket.write(text.charAt(at % text.length))
      at += 1
    }, 1_000)
    socket.on('close', () => clearInterval(timer))
  })

/** `before`, then `chunk` again and again as fast as the other side takes it, up to `bytes`; nothing is held in memory. */
export const pours = (before: string, chunk: Buffer, bytes = 10 * 1024 ** 3) =>
  onRequest((socket) => {
    let left = bytes
    const pour = () => {
      while (left > 0 && socket.writable) {
        left -= chunk.length
        if (!socket.write(chunk)) return
      }
      if (left <= 0) socket.end()
    }
    socket.on('drain', pour)
    socket.write(before)
    pour()
  })

export const CHUNK_64K = Buffer.concat([
  Buffer.from('10000\r\n'),
  Buffer.alloc(0x10000, 'x'),
  Buffer.from('\r\n'),
])

const packed = (encoding: string, body: Buffer, status = '200 OK') =>
  says(
    Buffer.concat([
      Buffer.from(
        `HTTP/1.1 ${status}\r\ncontent-encoding: ${encoding}\r\ncontent-length: ${body.length}\r\n\r\n`,
      ),
      body,
    ]),
  )
const zeros = (megabytes: number) => Buffer.alloc(megabytes * 1024 * 1024)
/** Ten megabytes in ten kilobytes. */
export const gzipBomb = (status?: string) => packed('gzip', gzipSync(zeros(10)), status)
export const brotliBomb = () => packed('br', brotliCompressSync(zeros(10)))
export const encodingChain = () =>
  packed(Array.from({ length: 100 }, () => 'gzip').join(', '), gzipSync(gzipSync(zeros(1))))
