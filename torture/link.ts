import { once } from 'node:events'
import { createServer, type Server, Socket } from 'node:net'

/**
 * What a link does to its connections: `open` passes everything on; `stall` holds everything back and delivers it
 * later; `deaf` delivers what goes up and swallows what comes down, so that answers are lost; `refuse` lets nobody in.
 */
export type LinkMode = 'open' | 'stall' | 'deaf' | 'refuse'

/** A TCP proxy on the loopback address that one can hurt. */
export interface Link {
  readonly port: number
  readonly mode: LinkMode
  /** Breaks every connection with a reset (RST). */
  reset(): void
  /** Ends every connection as a polite peer would (FIN). */
  cut(): void
  /** From `deaf` and `refuse` the way back to `open` breaks the connections: their answers are gone. */
  turn(mode: LinkMode): void
  close(): Promise<void>
}

interface Pair {
  readonly down: Socket
  up: Socket | undefined
  waiting: boolean
}

/** Listens on `port` (0 = any) and passes connections on to the port that `target` names at that moment. */
export async function openLink(target: () => number, port = 0): Promise<Link> {
  const pairs = new Set<Pair>()
  let mode: LinkMode = 'open'

  const end = (pair: Pair, hard: boolean): void => {
    pairs.delete(pair)
    for (const socket of [pair.down, pair.up]) {
      // A reset in the middle of a shutdown or of another reset fails inside Node, which then never exits.
      if (hard && socket && !socket.destroyed && !socket.connecting && !socket.writableEnded)
        socket.resetAndDestroy()
      else socket?.destroy()
    }
  }

  const pass = (pair: Pair, from: Socket, to: Socket, isAnswer: boolean): void => {
    from.setNoDelay(true)
    from.on('data', (chunk) => {
      if (isAnswer && mode === 'deaf') return
      if (!to.write(chunk)) from.pause()
    })
    to.on('drain', () => {
      if (mode !== 'stall') from.resume()
    })
    from.on('end', () => to.end())
    from.on('error', () => end(pair, true))
    from.on('close', () => {
      to.destroySoon()
      pairs.delete(pair)
    })
  }

  const connect = (pair: Pair): void => {
    pair.waiting = false
    const up = new Socket()
    pair.up = up
    up.connect(target(), '127.0.0.1')
    pass(pair, pair.down, up, false)
    pass(pair, up, pair.down, true)
  }

  const server: Server = createServer({ pauseOnConnect: true }, (down) => {
    if (mode === 'refuse') {
      down.on('error', () => undefined)
      down.resetAndDestroy()
      return
    }
    const pair: Pair = { down, up: undefined, waiting: mode === 'stall' }
    pairs.add(pair)
    if (pair.waiting) return
    connect(pair)
    down.resume()
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a link without a port')

  const breakAll = (hard: boolean): void => {
    for (const pair of [...pairs]) end(pair, hard)
  }
  return {
    port: address.port,
    get mode() {
      return mode
    },
    reset: () => breakAll(true),
    cut: () => breakAll(false),
    turn: (next) => {
      const before = mode
      mode = next
      if (next === 'refuse' || (next === 'open' && (before === 'deaf' || before === 'refuse'))) breakAll(true)
      for (const pair of pairs) {
        if (next === 'stall') {
          pair.down.pause()
          pair.up?.pause()
        } else if (before === 'stall') {
          if (pair.waiting) connect(pair)
          pair.down.resume()
          pair.up?.resume()
        }
      }
    },
    close: async () => {
      breakAll(true)
      server.close()
      await once(server, 'close')
    },
  }
}
