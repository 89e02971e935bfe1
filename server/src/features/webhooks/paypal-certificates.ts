import { type KeyObject, X509Certificate } from 'node:crypto'
import { getCACertificates } from 'node:tls'
import { type TrustedChain, trustedChain } from '../../platform/certificate-chain.ts'
import type { ProviderTools } from './provider.ts'

/** Pinned: a key from anywhere else would let the sender sign with one of their own. */
const ADDRESS =
  /^https:\/\/api(?:-m)?\.(sandbox\.)?paypal\.com\/v1\/notifications\/certs\/CERT-[0-9A-Za-z-]{1,100}$/
const PEM = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g
/** PayPal sends its certificate without the authority over it; the certificate says where DigiCert, its authority, has that. */
const ISSUER = /CA Issuers - URI:http:\/\/(cacerts\.digicert\.com\/[\w.-]+)/
/** PayPal changes its certificate about once a year. */
const MAX_KEPT = 16
/** The address comes from a request that nobody has verified yet: it must not make us a tool against PayPal. */
const MAX_FETCHES = 10
const FETCHES_WITHIN_MS = 60_000

export interface CertificateAddress {
  readonly url: string
  readonly livemode: boolean
}

/** Where PayPal keeps the certificate of a request; undefined for every other address. */
export function certificateAddress(url: string): CertificateAddress | undefined {
  const found = ADDRESS.exec(url)
  return found ? { url, livemode: found[1] === undefined } : undefined
}

/** Errors: any when the certificate cannot be had or trusted at the moment; nobody can say then who signed. */
export type PaypalKeyAt = (
  at: CertificateAddress,
  nowMs: number,
  tools: Pick<ProviderTools, 'fetch'>,
) => Promise<KeyObject>

/** Fetches certificates of PayPal, checks them up to an authority that Node trusts, and keeps them as long as they hold. */
export function createPaypalCertificates(): PaypalKeyAt {
  const kept = new Map<string, TrustedChain>()
  const loading = new Map<string, Promise<TrustedChain>>()
  let fetches: readonly number[] = []

  async function load(
    { url, livemode }: CertificateAddress,
    nowMs: number,
    { fetch }: Pick<ProviderTools, 'fetch'>,
  ): Promise<TrustedChain> {
    fetches = fetches.filter((at) => Math.abs(nowMs - at) < FETCHES_WITHIN_MS)
    if (fetches.length >= MAX_FETCHES) throw new Error('too many certificates were asked for')
    fetches = [...fetches, nowMs]
    const [leaf, ...along] = (await fetch(url)).toString('latin1').match(PEM) ?? []
    if (leaf === undefined) throw new Error('what PayPal serves is not a certificate')
    const certificate = new X509Certificate(leaf)
    const name = `messageverificationcerts.${livemode ? '' : 'sandbox.'}paypal.com`
    if (!certificate.checkHost(name)) throw new Error(`the certificate is not of ${name}`)
    const chain = await trustedChain(
      certificate,
      along.map((pem) => new X509Certificate(pem)),
      {
        // With those of NODE_EXTRA_CA_CERTS: where Node has dropped an authority, an operator can add it.
        trusted: getCACertificates('default').map((pem) => new X509Certificate(pem)),
        nowMs,
        issuerOf: async ({ infoAccess }) => {
          const at = ISSUER.exec(infoAccess ?? '')?.[1]
          return at === undefined ? undefined : new X509Certificate(await fetch(`https://${at}`))
        },
      },
    )
    if (!chain)
      throw new Error('the certificate of PayPal leads to no trusted authority, or does not hold any more')
    return chain
  }

  return async (at, nowMs, tools) => {
    const known = kept.get(at.url)
    if (known && known.fromMs <= nowMs && nowMs <= known.untilMs) return known.leaf.publicKey
    // When PayPal changes its certificate, many requests name the new one at once.
    const started = loading.get(at.url) ?? load(at, nowMs, tools).finally(() => loading.delete(at.url))
    loading.set(at.url, started)
    const chain = await started
    const [oldest] = kept.keys()
    if (kept.size >= MAX_KEPT && oldest !== undefined) kept.delete(oldest)
    kept.set(at.url, chain)
    return chain.leaf.publicKey
  }
}
