import { Socket } from 'node:net'
import { buildConnector } from 'undici'
import type { Guard } from './guard.ts'

/** A connection nobody waits for any more is given up after this; requests have their own shorter limit. */
const CONNECT_LIMIT_MS = 15_000
/** Happy eyeballs (RFC 8305): how long one address may keep the next from being tried. */
export const NEXT_ADDRESS_MS = 500

/**
 * Opens the connections of undici, only to addresses that the guard lets pass. `certificates` are PEM, trusted in
 * addition to the well-known ones. `onOpening` sees a socket before it is connected: undici itself forgets those
 * that nobody waits for any more, and does not end them when it is closed.
 */
export function guardedConnector(
  guard: Guard,
  certificates: readonly string[] | undefined,
  onOpening: (socket: Socket) => void,
): buildConnector.connector {
  const connect = buildConnector({
    timeout: CONNECT_LIMIT_MS,
    allowH2: false,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
    lookup: guard.lookup,
    ...(certificates && { ca: [...certificates] }),
  })

  return (target, callback) => {
    const literal = guard.refusalOfLiteral(target.hostname)
    if (literal) {
      // undici expects the answer of a connector after it has returned.
      queueMicrotask(() => callback(literal, null))
      return
    }
    const opening: unknown = connect(target, (error, socket) => {
      if (error) return callback(error, null)
      const refused = guard.refusalOfSocket(target.hostname, socket)
      if (!refused) return callback(null, socket)
      socket.destroy()
      callback(refused, null)
    })
    if (opening instanceof Socket) onOpening(opening)
  }
}
