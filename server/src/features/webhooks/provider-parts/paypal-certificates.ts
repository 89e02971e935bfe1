import { type KeyObject, X509Certificate } from 'node:crypto'
import { getCACertificates } from 'node:tls'
import { type TrustedChain, trustedChain } from '../../../platform/certificate-chain.ts'
import { Problem } from '../../../problems.ts'
import type { ProviderTools } from '../provider.ts'

/** Pinned: a key from anywhere else would let the sender sign with one of their own. */
const ADDRESS =
  /^https:\/\/api(?:-m)?\.(sandbox\.)?paypal\.com\/v1\/notifications\/certs\/CERT-[0-9A-Za-z-]{1,100}$/
const PEM = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g
/** PayPal sends its certificate without the authority over it; the certificate says where DigiCert, its authority, has that. */
const ISSUER = /CA Issuers - URI:http:\/\/(cacerts\.digicert\.com\/[\w.-]+)/
/** PayPal changes its certificate about once a year. */
const MAX_KEPT = 16
/**
 * The address comes from a request that nobody has verified yet: it must not make us a tool against PayPal. Addresses
 * that had a certificate before are not counted, so that strangers cannot use up what PayPal's own events need.
 */
const FETCHES = { atOnce: 20, perSecond: 2 }
/** How long an answer counts that was no certificate, and how long a failure. */
const NONE_FOR_MS = 300_000
const FAILED_FOR_MS = 5_000
const MAX_REMEMBERED = 1_000

export interface CertificateAddress {
  readonly url: string
  readonly livemode: boolean
}

/** Where PayPal keeps the certificate of a request; undefined for every other address. */
export function certificateAddress(url: string): CertificateAddress | undefined {
  const found = ADDRESS.exec(url)
  return found ? { url, livemode: found[1] === undefined } : undefined
}

/**
 * Undefined when there is no certificate of PayPal at the address, or none in its time, or it is not known and must
 * not be asked for. Errors: `webhook_unavailable` when nobody can say at the moment.
 */
export type PaypalKeyAt = (
  at: CertificateAddress,
  nowMs: number,
  tools: ProviderTools,
) => Promise<KeyObject | undefined>

type Fetch = NonNullable<ProviderTools['fetch']>

const unknown = (cause: unknown): Problem =>
  new Problem('webhook_unavailable', 'The hub has stored nothing; send the event again.', {
    retryAfterSeconds: 30,
    cause,
  })

/** Undefined for what is no certificate. */
function certificateOf(pem: string | Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(pem)
  } catch {
    return undefined
  }
}

/** The certificate at the address; undefined when what is there is none of PayPal, or not in its time. Errors: any when nobody can say. */
async function load(
  { url, livemode }: CertificateAddress,
  nowMs: number,
  fetch: Fetch,
): Promise<TrustedChain | undefined> {
  const [leaf, ...along] = (await fetch(url))?.toString('latin1').match(PEM)?.map(certificateOf) ?? []
  if (!leaf?.checkHost(`messageverificationcerts.${livemode ? '' : 'sandbox.'}paypal.com`)) return undefined
  if (nowMs < leaf.validFromDate.getTime() || leaf.validToDate.getTime() < nowMs) return undefined
  const chain = await trustedChain(
    leaf,
    along.filter((certificate) => certificate !== undefined),
    {
      // With those of NODE_EXTRA_CA_CERTS: where Node has dropped an authority, an operator can add it.
      trusted: getCACertificates('default').map((pem) => new X509Certificate(pem)),
      nowMs,
      issuerOf: async ({ infoAccess }) => {
        const at = ISSUER.exec(infoAccess ?? '')?.[1]
        const issuer = at === undefined ? undefined : await fetch(`https://${at}`)
        return issuer && certificateOf(issuer)
      },
    },
  )
  if (!chain) throw new Error('the certificate of PayPal leads to no trusted authority')
  return chain
}

/** So many at once, and then so many in a second; a clock that goes back gives nothing. */
function createFetchBudget(): (nowMs: number) => boolean {
  let [left, atMs] = [FETCHES.atOnce, 0]
  return (nowMs) => {
    left = Math.min(FETCHES.atOnce, left + (Math.max(0, nowMs - atMs) / 1_000) * FETCHES.perSecond)
    atMs = nowMs
    if (left < 1) return false
    left -= 1
    return true
  }
}

/** What asking for a certificate ended with when there was none to be had, and until when that counts. */
interface Missing {
  readonly untilMs: number
  /** Undefined = there is none. */
  readonly failure: Problem | undefined
}

function putLast<T>(map: Map<string, T>, key: string, value: T, most: number): void {
  map.delete(key)
  const [oldest] = map.keys()
  if (map.size >= most && oldest !== undefined) map.delete(oldest)
  map.set(key, value)
}

/** Fetches certificates of PayPal, checks them up to an authority that Node trusts, and keeps them as long as they hold. */
export function createPaypalCertificates(): PaypalKeyAt {
  const kept = new Map<string, TrustedChain>()
  const missing = new Map<string, Missing>()
  const loading = new Map<string, Promise<KeyObject | undefined>>()
  const mayFetch = createFetchBudget()

  async function loadNew(
    at: CertificateAddress,
    nowMs: number,
    fetch: Fetch,
  ): Promise<KeyObject | undefined> {
    try {
      const chain = await load(at, nowMs, fetch)
      if (chain) putLast(kept, at.url, chain, MAX_KEPT)
      else putLast(missing, at.url, { untilMs: nowMs + NONE_FOR_MS, failure: undefined }, MAX_REMEMBERED)
      return chain?.leaf.publicKey
    } catch (error) {
      const failure = unknown(error)
      putLast(missing, at.url, { untilMs: nowMs + FAILED_FOR_MS, failure }, MAX_REMEMBERED)
      throw failure
    }
  }

  return async (at, nowMs, { fetch }) => {
    const known = kept.get(at.url)
    if (known && known.fromMs <= nowMs && nowMs <= known.untilMs) return known.leaf.publicKey
    const none = missing.get(at.url)
    if (none && nowMs < none.untilMs) {
      if (none.failure) throw none.failure
      return undefined
    }
    if (!fetch) return undefined
    // When PayPal changes its certificate, many requests name the new one at once.
    const started = loading.get(at.url)
    if (started) return started
    if (!known && !mayFetch(nowMs)) throw unknown('too many certificates were asked for')
    const loaded = loadNew(at, nowMs, fetch).finally(() => loading.delete(at.url))
    loading.set(at.url, loaded)
    return loaded
  }
}
