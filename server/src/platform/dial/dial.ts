import { isIP, type Socket } from 'node:net'
import { getCACertificates } from 'node:tls'
import { LRUCache } from 'lru-cache'
import type { Histogram } from 'prom-client'
import { Agent } from 'undici'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { createAddressRules } from './address-rules.ts'
import { type ConnectRequest, type ConnectTarget, connectSocket, normalHost } from './connect-socket.ts'
import { DialFailure } from './dial-failure.ts'
import type { DialRequest, DialResponse } from './dial-request.ts'
import { exchange } from './exchange.ts'
import { createGuard } from './guard.ts'
import { guardedConnector } from './guarded-connector.ts'
import { headerFault } from './request-headers.ts'
import { createResolveHost, type ResolveHost } from './resolve-host.ts'

export type { ConnectTarget } from './connect-socket.ts'

/** Of so many hosts the verdict is remembered. */
const KNOWN_HOSTS = 1_000

export interface Dial {
  /** Sends one request and reads the whole answer, whatever its status; redirects are answers. Throws `DialFailure`. */
  request(request: DialRequest): Promise<DialResponse>
  /**
   * A plain TCP connection, for protocols that are not HTTP: the same rules, and the same check of the address
   * it really leads to. Throws `DialFailure`; once connected, the socket and its errors are the caller's.
   */
  connect(request: ConnectRequest): Promise<Socket>
  /** Why a target can never be dialled (scheme, user info, forbidden literal address); undefined when it may be. */
  refusal(target: string | URL | ConnectTarget): string | undefined
  /** Drops all connections; requests under way fail as `aborted`. */
  close(): Promise<void>
}

export interface DialOptions {
  /** Private networks that may be dialled on purpose. Metadata addresses stay forbidden inside them too. */
  readonly allowCidrs: readonly string[]
  readonly metrics: Metrics
  readonly log: Log
  readonly resolveHost?: ResolveHost
  /** PEM certificates trusted in addition to the ones that Node trusts. */
  readonly certificates?: readonly string[]
}

/**
 * The only way out to the network for anything that a caller can point somewhere. It checks the address that
 * is really dialled, follows no redirects, ignores the proxy environment, unpacks nothing and reads at most
 * `maxResponseBytes`. One pool of kept-alive connections per origin; undici reports nothing to a global.
 */
export function createDial(options: DialOptions): Dial {
  const { log } = options
  const rules = createAddressRules(options.allowCidrs)
  const seconds = options.metrics.histogram('outbound_request_seconds', 'Duration of an outgoing request', [
    'result',
  ])
  const connectSeconds = options.metrics.histogram(
    'outbound_connect_seconds',
    'Time until an outgoing connection without HTTP stood',
    ['result'],
  )
  const guard = createGuard({
    rules,
    resolveHost: options.resolveHost ?? createResolveHost(),
    onRefused: (hostname, address, reason) =>
      log.warn({ hostname, address, reason }, 'refused to dial a forbidden address'),
  })
  const sockets = new Set<Socket>()
  const remember = (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  }
  const agent = new Agent({
    connect: guardedConnector(
      guard,
      options.certificates && [...getCACertificates('default'), ...options.certificates],
      remember,
    ),
    allowH2: false,
    // A longer hint of the other side is not believed: after a change of DNS old connections should end soon.
    keepAliveMaxTimeout: 60_000,
  })

  // The rules do not change, and most calls go to few hosts.
  const verdicts = new LRUCache<string, 'allowed' | 'forbidden'>({ max: KNOWN_HOSTS })
  const forbidden = (hostname: string): string | undefined => {
    let verdict = verdicts.get(hostname)
    if (verdict === undefined) {
      const reason = isIP(hostname) === 0 ? rules.refusalOfName(hostname) : rules.refusalOf(hostname)
      verdict = reason === undefined ? 'allowed' : 'forbidden'
      verdicts.set(hostname, verdict)
    }
    return verdict === 'forbidden' ? 'The target address is not allowed.' : undefined
  }

  const refusalOfUrl = (url: URL | null): string | undefined => {
    if (!url) return 'The URL cannot be read.'
    if (url.protocol !== 'http:' && url.protocol !== 'https:') return 'Only http and https are allowed.'
    if (url.username !== '' || url.password !== '') return 'The URL may not carry a user name or password.'
    // The URL parser has already turned 0x7f.1, 2130706433, ①②⑦.⓪.⓪.① and the like into plain addresses.
    return forbidden(url.hostname.replace(/^\[(.*)\]$/, '$1'))
  }

  const refusalOfTarget = ({ host, port }: ConnectTarget): string | undefined => {
    const hostname = normalHost(host)
    if (hostname === undefined) return 'The host cannot be read.'
    if (!Number.isInteger(port) || port < 1 || port > 65_535) return 'The port must be from 1 to 65535.'
    return forbidden(hostname)
  }

  const refusal: Dial['refusal'] = (target) =>
    typeof target === 'object' && 'host' in target && !(target instanceof URL)
      ? refusalOfTarget(target)
      : refusalOfUrl(parsed(target))

  const open = async (request: ConnectRequest) => {
    const refused = refusalOfTarget(request)
    if (refused) throw new DialFailure('address_forbidden', 'never', refused)
    return connectSocket(guard, normalHost(request.host) ?? '', request, remember)
  }

  const send: Dial['request'] = async (request) => {
    const url = parsed(request.url)
    const refused = refusalOfUrl(url)
    if (!url || refused)
      throw new DialFailure('address_forbidden', 'never', refused ?? 'The URL cannot be read.')
    const fault = headerFault(request.headers)
    if (fault) throw new DialFailure('protocol', 'never', fault)
    const headers = { ...request.headers, 'accept-encoding': 'identity' }
    return exchange(agent, { ...request, headers }, url)
  }

  return {
    refusal,
    request: (request) => measured(seconds, () => send(request), statusOf),
    connect: (request) =>
      measured(
        connectSeconds,
        () => open(request),
        () => 'connected',
      ),
    close: async () => {
      await agent.destroy()
      const closed = new DialFailure('aborted', 'never', 'The request was given up.')
      // A connected socket is its caller's: it hears of the end by `close` and not by an error.
      for (const socket of sockets) socket.destroy(socket.connecting ? closed : undefined)
    },
  }
}

/** A copy: what is dialled is what was checked, whatever becomes of the caller's object. */
const parsed = (url: string | URL): URL | null => URL.parse(String(url))

const statusOf = ({ status }: DialResponse): string => `${Math.floor(status / 100)}xx`

async function measured<T>(
  seconds: Histogram<'result'>,
  run: () => Promise<T>,
  resultOf: (value: T) => string,
): Promise<T> {
  const end = seconds.startTimer()
  try {
    const value = await run()
    end({ result: resultOf(value) })
    return value
  } catch (error) {
    end({ result: error instanceof DialFailure ? error.class : 'bug' })
    throw error
  }
}
