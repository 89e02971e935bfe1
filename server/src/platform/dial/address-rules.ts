import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6
type Cidr = readonly [Address, number]

const cidr = (text: string): Cidr => ipaddr.parseCIDR(text)

/**
 * Never dialled, not even when an allowed CIDR covers them, nor wrapped in an IPv6 address: here the machine's
 * cloud hands out credentials to whoever asks.
 */
const METADATA = [
  '169.254.0.0/16', // AWS, Google, Azure, Oracle, DigitalOcean, Tencent (169.254.0.23), ECS and EKS credentials
  '168.63.129.16/32', // Azure WireServer; ipaddr.js calls it plain unicast
  '100.100.100.200/32', // Alibaba Cloud
  '192.0.0.192/32', // Oracle Cloud
  'fd00:ec2::/32', // AWS over IPv6
  'fd20:ce::/32', // Google over IPv6
  'fe80::/10',
].map(cidr)

/** Never dialled either: the "any" address (Linux takes it for the loopback) and groups. */
const NO_HOST = ['0.0.0.0/8', '224.0.0.0/4', '255.255.255.255/32', '::/128', 'ff00::/8'].map(cidr)

/** Names that only ever stand for a metadata service, whatever they resolve to here. */
const NEVER_NAMES = new Set(['metadata.google.internal', 'metadata.goog', 'instance-data.ec2.internal'])

/** Special-purpose blocks (IANA registries, RFC 6890) that ipaddr.js does not name in every version. */
const SPECIAL = [
  '100.64.0.0/10',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '240.0.0.0/4',
  '2001::/23', // IETF assignments, Teredo among them
  '2001:db8::/32',
  '2002::/16', // 6to4
  '2620:4f:8000::/48',
  '3fff::/20',
].map(cidr)

/** Global unicast: everything outside is private, reserved, or a way to wrap an IPv4 address. */
const GLOBAL_UNICAST = cidr('2000::/3')

/** Why an address may not be dialled, for the log; undefined = it may. */
export interface AddressRules {
  refusalOf(address: string): string | undefined
  refusalOfName(hostname: string): string | undefined
}

/**
 * The rules for one process. `allowCidrs` opens private networks on purpose (self-hosters call products in
 * their own network). Throws on a CIDR that cannot be read.
 */
export function createAddressRules(allowCidrs: readonly string[]): AddressRules {
  const allowed = allowCidrs.map((text) => {
    if (!ipaddr.isValidCIDR(text)) throw new Error(`"${text}" is not a CIDR such as 10.0.0.0/8`)
    return cidr(text)
  })
  return {
    refusalOf: (address) => refusalOf(address, allowed),
    refusalOfName: (hostname) =>
      NEVER_NAMES.has(hostname.toLowerCase().replace(/\.$/, '')) ? 'metadata' : undefined,
  }
}

function refusalOf(text: string, allowed: readonly Cidr[]): string | undefined {
  // ipaddr.js also reads `127.1` and `0x7f.1`, and a zone (`fe80::1%eth0`) picks an interface: neither is an
  // address that a resolver or a socket reports.
  if (isIP(text) === 0 || text.includes('%')) return 'unreadable'
  const address = ipaddr.process(text)
  const wrapped = address.kind() === 'ipv6' ? wrappedIPv4(address as ipaddr.IPv6) : []
  if (isIn(address, NO_HOST) || [address, ...wrapped].some((candidate) => isIn(candidate, METADATA)))
    return 'never allowed'
  if (isIn(address, allowed)) return undefined
  if (isIn(address, SPECIAL)) return 'special purpose'
  if (address.kind() === 'ipv6' && (!isIn(address, [GLOBAL_UNICAST]) || wrapped.length > 0))
    return 'not global'
  const range = address.range()
  return range === 'unicast' ? undefined : range
}

const isIn = (address: Address, cidrs: readonly Cidr[]): boolean =>
  cidrs.some(([network, bits]) => network.kind() === address.kind() && address.match(network, bits))

/**
 * The IPv4 addresses that an IPv6 address carries by one of the transition schemes: IPv4-compatible, SIIT,
 * NAT64 (RFC 6052, RFC 8215), 6to4, Teredo (server, and client with inverted bits), ISATAP.
 */
function wrappedIPv4(address: ipaddr.IPv6): ipaddr.IPv4[] {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = address.parts
  const zeroUpTo = (...parts: number[]) => parts.every((part) => part === 0)
  if (zeroUpTo(a, b, c, d, e, f)) return [ipv4(g, h)]
  if (zeroUpTo(a, b, c, d) && e === 0xffff && f === 0) return [ipv4(g, h)]
  if (a === 0x64 && b === 0xff9b && zeroUpTo(c, d, e, f)) return [ipv4(g, h)]
  if (a === 0x64 && b === 0xff9b && c === 1) return [ipv4(g, h), ipv4(d, ((e & 0xff) << 8) | (f >> 8))]
  if (a === 0x2002) return [ipv4(b, c)]
  if (a === 0x2001 && b === 0) return [ipv4(c, d), ipv4(g ^ 0xffff, h ^ 0xffff)]
  if ((e & ~0x0200) === 0 && f === 0x5efe) return [ipv4(g, h)]
  return []
}

const ipv4 = (high: number, low: number): ipaddr.IPv4 =>
  new ipaddr.IPv4([high >> 8, high & 0xff, low >> 8, low & 0xff])
