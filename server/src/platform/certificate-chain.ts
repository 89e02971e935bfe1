import type { X509Certificate } from 'node:crypto'

/** A certificate, the authorities over it and a trusted one, and the time in which all of them hold. */
export interface TrustedChain {
  readonly leaf: X509Certificate
  readonly fromMs: number
  readonly untilMs: number
}

/** More authorities over one certificate than any public one has. */
const MAX_LENGTH = 5

const timesOf = ({ validFromDate, validToDate }: X509Certificate) => ({
  fromMs: validFromDate.getTime(),
  untilMs: validToDate.getTime(),
})

const holds = (certificate: X509Certificate, nowMs: number): boolean => {
  const { fromMs, untilMs } = timesOf(certificate)
  return fromMs <= nowMs && nowMs <= untilMs
}

const issued = (issuer: X509Certificate, certificate: X509Certificate): boolean =>
  issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)

/**
 * Follows a certificate up to one of the trusted authorities (RFC 5280, section 6, without name constraints and
 * revocation). Undefined when it does not lead there, or one on the way does not hold at `nowMs`. `issuerOf` is asked
 * where an authority in between was not sent along; what it gives is checked like the others.
 */
export async function trustedChain(
  leaf: X509Certificate,
  along: readonly X509Certificate[],
  of: {
    readonly trusted: readonly X509Certificate[]
    readonly nowMs: number
    readonly issuerOf: (certificate: X509Certificate) => Promise<X509Certificate | undefined>
  },
): Promise<TrustedChain | undefined> {
  const chain = [leaf]
  let last = leaf
  while (chain.length <= MAX_LENGTH && holds(last, of.nowMs)) {
    const below = last
    const top = of.trusted.find((authority) => issued(authority, below))
    const next = top ?? along.find((authority) => issued(authority, below)) ?? (await of.issuerOf(below))
    if (!next || !issued(next, below) || chain.some((one) => one.fingerprint256 === next.fingerprint256))
      return undefined
    chain.push(next)
    if (top) {
      const times = chain.map(timesOf)
      const untilMs = Math.min(...times.map((time) => time.untilMs))
      const fromMs = Math.max(...times.map((time) => time.fromMs))
      return holds(top, of.nowMs) ? { leaf, fromMs, untilMs } : undefined
    }
    last = next
  }
  return undefined
}
