import { connect, isIPv6, type Socket } from 'node:net'
import { DialFailure } from './dial-failure.ts'
import { failureOf } from './failure-of.ts'
import type { Guard } from './guard.ts'
import { NEXT_ADDRESS_MS } from './guarded-connector.ts'

/** A host and port, for protocols that are not HTTP. */
export interface ConnectTarget {
  /** A name or an IP literal, without brackets. */
  readonly host: string
  readonly port: number
}

export interface ConnectRequest extends ConnectTarget {
  /** Ends the connecting: a reason named `TimeoutError` gives the class `timeout`, any other `aborted`. */
  readonly signal: AbortSignal
  /** Name lookup and TCP together. */
  readonly connectTimeoutMs: number
}

/**
 * A host as the resolver and the address rules take it: `0x7f.1`, `2130706433` and `①②⑦.⓪.⓪.①` as the plain
 * address they stand for, names in lower case and ASCII. undefined when it is none.
 */
export function normalHost(host: string): string | undefined {
  const literal = isIPv6(host)
  if (!literal && (host === '' || /[\s/?#@\\:[\]]/.test(host))) return undefined
  return URL.parse(`http://${literal ? `[${host}]` : host}/`)?.hostname.replace(/^\[(.*)\]$/, '$1')
}

/**
 * A plain TCP connection to an address that the guard lets pass. Throws `DialFailure`, never sent. Once it is
 * there, the socket and its errors are the caller's, and so is the time it stays open. `onOpening` sees the
 * socket before it is connected.
 */
export function connectSocket(
  guard: Guard,
  host: string,
  request: ConnectRequest,
  onOpening: (socket: Socket) => void,
): Promise<Socket> {
  const { port, signal, connectTimeoutMs } = request
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(failureOf(signal.reason, 'never', 'aborted'))
    const literal = guard.refusalOfLiteral(host)
    if (literal) return reject(literal)
    const socket = connect({
      host,
      port,
      lookup: guard.lookup,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
      noDelay: true,
    })
    onOpening(socket)
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
    const fail = (failure: DialFailure) => {
      end()
      // Its own end comes later and is nobody's news any more.
      socket.on('error', () => undefined).destroy()
      reject(failure)
    }
    const onError = (error: unknown) => fail(failureOf(error, 'never', 'refused'))
    const onAbort = () => fail(failureOf(signal.reason, 'never', 'aborted'))
    const timer = setTimeout(
      () => fail(new DialFailure('connect_timeout', 'never', 'No connection to the upstream in time.')),
      connectTimeoutMs,
    )
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('error', onError)
    socket.once('connect', () => {
      const refused = guard.refusalOfSocket(host, socket)
      if (refused) return fail(refused)
      end()
      socket.off('error', onError)
      resolve(socket)
    })
  })
}
