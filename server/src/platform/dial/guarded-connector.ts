import { isIP, type LookupFunction } from 'node:net'
import { buildConnector } from 'undici'
import type { AddressRules } from './address-rules.ts'
import { DialFailure } from './dial-failure.ts'
import type { ResolveHost } from './resolve-host.ts'

/** A connection nobody waits for any more is given up after this; requests have their own shorter limit. */
const CONNECT_LIMIT_MS = 15_000
/** Happy eyeballs (RFC 8305): how long one address may keep the next from being tried. */
const NEXT_ADDRESS_MS = 500

interface GuardOptions {
  readonly rules: AddressRules
  readonly resolveHost: ResolveHost
  /** PEM certificates trusted in addition to the well-known ones. */
  readonly certificates: readonly string[] | undefined
  onRefused(hostname: string, address: string, reason: string): void
}

/**
 * Opens connections only to addresses that the rules allow. The check sits where the socket is made, not at
 * the URL: the addresses that are checked are the ones that are dialled, so a name that answers differently
 * the second time changes nothing. One forbidden address among several refuses the name: whoever mixes public
 * and private answers is up to something. An IP literal never reaches `lookup`, so it is checked before; and
 * the connected socket is asked once more where it really leads.
 */
export function guardedConnector(options: GuardOptions): buildConnector.connector {
  const { rules } = options

  const refuse = (hostname: string, address: string, reason: string): DialFailure => {
    options.onRefused(hostname, address, reason)
    return new DialFailure('address_forbidden', 'never', 'The target address is not allowed.')
  }

  const checkedAddresses = async (hostname: string): Promise<readonly string[]> => {
    const named = rules.refusalOfName(hostname)
    if (named) throw refuse(hostname, hostname, named)
    let addresses: readonly string[]
    try {
      addresses = await options.resolveHost(hostname)
    } catch (cause) {
      throw new DialFailure('dns', 'never', 'The name of the upstream does not resolve.', { cause })
    }
    if (addresses.length === 0)
      throw new DialFailure('dns', 'never', 'The name of the upstream has no address.')
    for (const address of addresses) {
      const reason = rules.refusalOf(address)
      if (reason) throw refuse(hostname, address, reason)
    }
    return addresses
  }

  const lookup: LookupFunction = (hostname, { all }, callback) => {
    checkedAddresses(hostname).then(
      (addresses) => {
        const answers = addresses.map((address) => ({ address, family: isIP(address) }))
        const [first] = answers
        if (all) callback(null, answers)
        else callback(null, first?.address ?? '', first?.family)
      },
      (error: Error) => callback(error, ''),
    )
  }

  const connect = buildConnector({
    timeout: CONNECT_LIMIT_MS,
    allowH2: false,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
    lookup,
    ...(options.certificates && { ca: [...options.certificates] }),
  })

  return (target, callback) => {
    const { hostname } = target
    const literal = isIP(hostname) === 0 ? undefined : rules.refusalOf(hostname)
    if (literal) {
      const failure = refuse(hostname, hostname, literal)
      // undici expects the answer of a connector after it has returned.
      queueMicrotask(() => callback(failure, null))
      return
    }
    connect(target, (error, socket) => {
      if (error) return callback(error, null)
      const remote = socket.remoteAddress
      // Its peer has reset it already, so it leads nowhere: a fault of the moment, not of the address.
      if (remote === undefined) {
        socket.destroy()
        return callback(new DialFailure('reset', 'never', 'The upstream closed the connection.'), null)
      }
      const reason = rules.refusalOf(remote)
      if (reason === undefined) return callback(null, socket)
      socket.destroy()
      callback(refuse(hostname, remote, reason), null)
    })
  }
}
