import { isIP } from 'node:net'
import { getCACertificates } from 'node:tls'
import { Agent } from 'undici'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { createAddressRules } from './address-rules.ts'
import { DialFailure } from './dial-failure.ts'
import type { DialRequest, DialResponse } from './dial-request.ts'
import { exchange } from './exchange.ts'
import { guardedConnector } from './guarded-connector.ts'
import { headerFault } from './request-headers.ts'
import { createResolveHost, type ResolveHost } from './resolve-host.ts'

export interface Dial {
  /** Sends one request and reads the whole answer, whatever its status; redirects are answers. Throws `DialFailure`. */
  request(request: DialRequest): Promise<DialResponse>
  /** Why a URL can never be dialled (scheme, user info, forbidden literal address); undefined when it may be. */
  refusal(url: string | URL): string | undefined
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
  const agent = new Agent({
    connect: guardedConnector({
      rules,
      resolveHost: options.resolveHost ?? createResolveHost(),
      certificates: options.certificates && [...getCACertificates('default'), ...options.certificates],
      onRefused: (hostname, address, reason) =>
        log.warn({ hostname, address, reason }, 'refused to dial a forbidden address'),
    }),
    allowH2: false,
    // A longer hint of the other side is not believed: after a change of DNS old connections should end soon.
    keepAliveMaxTimeout: 60_000,
  })

  const refusal = (text: string | URL): string | undefined => {
    const url = URL.parse(String(text))
    if (!url) return 'The URL cannot be read.'
    if (url.protocol !== 'http:' && url.protocol !== 'https:') return 'Only http and https are allowed.'
    if (url.username !== '' || url.password !== '') return 'The URL may not carry a user name or password.'
    // The URL parser has already turned 0x7f.1, 2130706433, ①②⑦.⓪.⓪.① and the like into plain addresses.
    const hostname = url.hostname.replace(/^\[(.*)\]$/, '$1')
    const forbidden = isIP(hostname) === 0 ? rules.refusalOfName(hostname) : rules.refusalOf(hostname)
    return forbidden && 'The target address is not allowed.'
  }

  const send: Dial['request'] = async (request) => {
    const refused = refusal(request.url)
    if (refused) throw new DialFailure('address_forbidden', 'never', refused)
    const fault = headerFault(request.headers)
    if (fault) throw new DialFailure('protocol', 'never', fault)
    const headers = { ...request.headers, 'accept-encoding': 'identity' }
    return exchange(agent, { ...request, headers }, new URL(request.url))
  }

  return {
    refusal,
    request: async (request) => {
      const end = seconds.startTimer()
      try {
        const response = await send(request)
        end({ result: `${Math.floor(response.status / 100)}xx` })
        return response
      } catch (error) {
        end({ result: error instanceof DialFailure ? error.class : 'bug' })
        throw error
      }
    },
    close: () => agent.destroy(),
  }
}
