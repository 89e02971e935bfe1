import ipaddr from 'ipaddr.js'

/** The parts of a text that are separated by commas, trimmed; empty ones are left out. */
export const splitList = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')

/** True for a network in CIDR notation (RFC 4632), e.g. `10.1.0.0/16` or `fd00::/8`. */
export const isNetwork = (text: string): boolean => ipaddr.isValidCIDR(text)

/** True for one address or a network. */
export const isAddressOrNetwork = (text: string): boolean => ipaddr.isValid(text) || isNetwork(text)

/** Tells whether an address lies in one of the networks; an IPv4 address in IPv6 notation counts as what it is. */
export function isInNetworks(networks: readonly string[]): (address: string) => boolean {
  const parsed = networks.map((network) => ipaddr.parseCIDR(network))
  return (address) => {
    if (!ipaddr.isValid(address)) return false
    const subject = ipaddr.process(address)
    return parsed.some(([network, bits]) => network.kind() === subject.kind() && subject.match(network, bits))
  }
}
