import { isIP, type LookupFunction, type Socket } from 'node:net'
import type { AddressRules } from './address-rules.ts'
import { DialFailure } from './dial-failure.ts'
import type { ResolveHost } from './resolve-host.ts'

export interface GuardOptions {
  readonly rules: AddressRules
  readonly resolveHost: ResolveHost
  onRefused(hostname: string, address: string, reason: string): void
}

/**
 * The checks that every way out shares. They sit where the socket is made, not at the URL: the addresses that
 * are checked are the ones that are dialled, so a name that answers differently the second time changes nothing.
 */
export interface Guard {
  /** An IP literal never reaches `lookup`, so it is checked before. */
  refusalOfLiteral(hostname: string): DialFailure | undefined
  /**
   * For `net.connect`. One forbidden address among several refuses the name: whoever mixes public and private
   * answers is up to something.
   */
  readonly lookup: LookupFunction
  /** Asks the connected socket once more where it really leads. */
  refusalOfSocket(hostname: string, socket: Socket): DialFailure | undefined
}

export function createGuard({ rules, resolveHost, onRefused }: GuardOptions): Guard {
  const refuse = (hostname: string, address: string, reason: string): DialFailure => {
    onRefused(hostname, address, reason)
    return new DialFailure('address_forbidden', 'never', 'The target address is not allowed.')
  }

  const checkedAddresses = async (hostname: string): Promise<readonly string[]> => {
    const named = rules.refusalOfName(hostname)
    if (named) throw refuse(hostname, hostname, named)
    let addresses: readonly string[]
    try {
      addresses = await resolveHost(hostname)
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

  return {
    refusalOfLiteral: (hostname) => {
      const reason = isIP(hostname) === 0 ? undefined : rules.refusalOf(hostname)
      return reason === undefined ? undefined : refuse(hostname, hostname, reason)
    },
    lookup: (hostname, { all }, callback) => {
      checkedAddresses(hostname).then(
        (addresses) => {
          const answers = addresses.map((address) => ({ address, family: isIP(address) }))
          const [first] = answers
          if (all) callback(null, answers)
          else callback(null, first?.address ?? '', first?.family)
        },
        (error: Error) => callback(error, ''),
      )
    },
    refusalOfSocket: (hostname, { remoteAddress }) => {
      // Its peer has reset it already, so it leads nowhere: a fault of the moment, not of the address.
      if (remoteAddress === undefined)
        return new DialFailure('reset', 'never', 'The upstream closed the connection.')
      const reason = rules.refusalOf(remoteAddress)
      return reason === undefined ? undefined : refuse(hostname, remoteAddress, reason)
    },
  }
}
