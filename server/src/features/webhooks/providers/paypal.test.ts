import { createSign, X509Certificate } from 'node:crypto'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { type Pem, throwAwayAuthority } from '../../../../testing/self-signed.ts'
import { paypalHeaders, paypal as sample } from '../../../../testing/webhook-samples/paypal.ts'
import { Secret } from '../../../platform/secret.ts'
import { paypal } from './paypal.ts'

const NOW = Date.parse('2026-11-21T12:00:00Z')
const [WEBHOOK] = sample.secrets
const NAME = 'messageverificationcerts.sandbox.paypal.com'

/** Nobody can say: PayPal shall send it again. */
const UNAVAILABLE = { code: 'webhook_unavailable' }

const root = throwAwayAuthority('A root that Node trusts')
setDefaultCACertificates([...getCACertificates('default'), root.cert])

let number = 0
/** An address that the provider has not seen. */
const newUrl = () => {
  number += 1
  return `https://api.sandbox.paypal.com/v1/notifications/certs/CERT-test-${number}`
}

const madeFor = (change: { readonly key?: string; readonly served?: string | Buffer | Error }) => {
  const { key, cert: served } = root.issue(NAME, undefined, 'rsa')
  return { key, served, ...change }
}

async function verdictOf(
  change: {
    readonly key?: string
    readonly url?: string
    readonly served?: string | Buffer | Error | 'none'
    /** What is served at other addresses. */
    readonly elsewhere?: Readonly<Record<string, Buffer>>
    readonly headers?: Record<string, string>
    readonly nowMs?: number
    readonly body?: Buffer
    readonly fetched?: string[]
    /** Not even asked for. */
    readonly offline?: boolean
  } = {},
) {
  const { key, served } =
    change.key !== undefined && change.served !== undefined
      ? { key: change.key, served: change.served }
      : madeFor(change)
  const { url = newUrl(), nowMs = NOW, fetched = [] } = change
  const body = change.body ?? sample.body()
  const headers = { ...paypalHeaders(body, WEBHOOK, nowMs, { url, key }), ...change.headers }
  const verdict = await paypal.verify(
    {
      raw: body,
      headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]])),
      url: undefined,
      nowMs,
    },
    [new Secret(WEBHOOK)],
    {},
    change.offline
      ? {}
      : {
          fetch: async (address) => {
            fetched.push(address)
            const other = change.elsewhere?.[address]
            if (other) return other
            if (served instanceof Error) throw served
            if (served === 'none') return undefined
            return Buffer.from(served)
          },
        },
  )
  return verdict.verified || verdict.cause
}

describe('the text that is signed', () => {
  it('is the one of the library of PayPal, with the checksum of the bytes as a number', async () => {
    const issued = root.issue(NAME, undefined, 'rsa')
    const body = Buffer.from('{"id":"WH-1","resource":{"note":"Käse"}}')
    const text = `t-1|2026-11-21T12:00:00Z|${WEBHOOK}|1650296186`
    const headers = {
      'paypal-transmission-id': 't-1',
      'paypal-transmission-time': '2026-11-21T12:00:00Z',
      'paypal-transmission-sig': createSign('RSA-SHA256').update(text).sign(issued.key, 'base64'),
    }
    expect(await verdictOf({ body, headers, served: issued.cert })).toBe(true)
  })

  it('is refused in every other algorithm than the one that PayPal uses', async () => {
    for (const algorithm of ['SHA1withRSA', 'sha256', 'none', ''])
      expect(await verdictOf({ headers: { 'paypal-auth-algo': algorithm } })).toBe('signature_malformed')
  })

  it.each(['paypal-transmission-id', 'paypal-transmission-time', 'paypal-cert-url', 'paypal-auth-algo'])(
    'is refused without a proper %s',
    async (header) => {
      for (const value of ['', 'a|b', ' ', 'x'.repeat(300)])
        expect(await verdictOf({ headers: { [header]: value } })).toBe('signature_malformed')
    },
  )
})

describe('the certificate', () => {
  it.each([
    'http://api.paypal.com/v1/notifications/certs/CERT-1',
    'https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1',
    'https://evil.example/v1/notifications/certs/CERT-1',
    'https://www.paypal.com/v1/notifications/certs/CERT-1',
    'https://api.paypal.com:8443/v1/notifications/certs/CERT-1',
    'https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1',
    'https://user:pw@api.paypal.com/v1/notifications/certs/CERT-1',
    'https://api.paypal.com/v1/notifications/certs/../../oauth2/CERT-1',
    'https://api.paypal.com/v1/notifications/certs/CERT-1?to=https://evil.example',
    'https://api.paypal.com/v1/notifications/certs/CERT-1\n',
    'https://169.254.169.254/v1/notifications/certs/CERT-1',
  ])('is not asked for at %s', async (url) => {
    const fetched: string[] = []
    expect(await verdictOf({ url, fetched })).toBe('signature_malformed')
    expect(fetched).toEqual([])
  })

  it('is fetched once and kept while it holds', async () => {
    const fetched: string[] = []
    const [url, issued] = [newUrl(), root.issue(NAME, '270101', 'rsa')]
    const of = { url, fetched, key: issued.key, served: issued.cert }
    expect(await verdictOf(of)).toBe(true)
    expect(await verdictOf(of)).toBe(true)
    expect(fetched).toEqual([url])
    const later = Date.parse('2027-01-02T00:00:00Z')
    expect(await verdictOf({ ...of, nowMs: later })).toBe('signature_mismatch')
    expect(fetched).toEqual([url, url])
  })

  it('is fetched once for all requests that wait for it', async () => {
    const [url, issued, fetched]: [string, Pem, string[]] = [newUrl(), root.issue(NAME, undefined, 'rsa'), []]
    const of = { url, fetched, key: issued.key, served: issued.cert, nowMs: NOW + 2_400_000 }
    expect(await Promise.all(Array.from({ length: 20 }, () => verdictOf(of)))).toEqual(
      Array.from({ length: 20 }, () => true),
    )
    expect(fetched).toEqual([url])
  })

  it('verifies nothing that another key has signed', async () => {
    const other = root.issue(NAME, undefined, 'rsa')
    expect(await verdictOf({ key: other.key })).toBe('signature_mismatch')
  })

  it.each([
    [
      'is under nobody',
      () => throwAwayAuthority('The authority of somebody else').issue(NAME, undefined, 'rsa'),
    ],
  ])('that %s leaves open who signed', async (_what, issue) => {
    const { key, cert } = issue()
    await expect(verdictOf({ key, served: cert })).rejects.toMatchObject(UNAVAILABLE)
  })

  it.each([
    ['is past its time', () => root.issue(NAME, '261120', 'rsa')],
    ['is of another name', () => root.issue('www.paypal.com', undefined, 'rsa')],
    [
      'is of live, at the address of the sandbox',
      () => root.issue('messageverificationcerts.paypal.com', undefined, 'rsa'),
    ],
    ['is not there', () => ({ key: root.issue(NAME, undefined, 'rsa').key, cert: 'none' })],
    ['is a page', () => ({ key: root.issue(NAME, undefined, 'rsa').key, cert: '<html>' })],
    [
      'is garbage',
      () => ({
        key: root.issue(NAME, undefined, 'rsa').key,
        cert: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----',
      }),
    ],
  ])('that %s verifies nothing, and is not asked for again for a while', async (_what, issue) => {
    const [url, fetched, { key, cert: served }] = [newUrl(), [] as string[], issue()]
    for (const nowMs of [NOW, NOW + 299_000])
      expect(await verdictOf({ url, fetched, key, served, nowMs })).toBe('signature_mismatch')
    expect(fetched).toEqual([url])
    const good = root.issue(NAME, undefined, 'rsa')
    const again = { url, fetched, key: good.key, served: good.cert, nowMs: NOW + 300_000 }
    expect(await verdictOf(again)).toBe(true)
    expect(fetched).toEqual([url, url])
  })

  it('that cannot be had leaves open who signed, and is asked for again soon', async () => {
    const [url, issued, fetched] = [newUrl(), root.issue(NAME, undefined, 'rsa'), [] as string[]]
    const minute = NOW + 660_000
    const failing = { url, fetched, served: new Error('HTTP 503') }
    for (const nowMs of [minute, minute + 4_000])
      await expect(verdictOf({ ...failing, nowMs })).rejects.toMatchObject(UNAVAILABLE)
    expect(fetched).toEqual([url])
    const again = { url, key: issued.key, served: issued.cert, nowMs: minute + 5_000 }
    expect(await verdictOf(again)).toBe(true)
  })

  it('is asked for by nobody who may not ask: what is not known verifies nothing', async () => {
    const [url, issued, fetched] = [newUrl(), root.issue(NAME, undefined, 'rsa'), [] as string[]]
    const of = { url, fetched, key: issued.key, served: issued.cert, nowMs: NOW + 700_000 }
    expect(await verdictOf({ ...of, offline: true })).toBe('signature_mismatch')
    expect(fetched).toEqual([])
    expect(await verdictOf(of)).toBe(true)
    expect(await verdictOf({ ...of, offline: true })).toBe(true)
  })

  it('is found through an authority in between that comes along', async () => {
    const between = root.authority('An authority between them')
    const issued = between.issue(NAME, undefined, 'rsa')
    const nowMs = NOW + 120_000
    expect(await verdictOf({ key: issued.key, served: issued.cert + between.cert, nowMs })).toBe(true)
    await expect(verdictOf({ key: issued.key, served: issued.cert, nowMs })).rejects.toMatchObject(
      UNAVAILABLE,
    )
  })

  it.each([
    ['where its authority keeps them', 'http://cacerts.digicert.com/Between.crt', true],
    ['nowhere else', 'http://169.254.169.254/Between.crt', false],
  ])('is found through an authority in between that is asked for %s', async (_what, at, found) => {
    const between = root.authority('An authority between them')
    const issued = between.issue(NAME, undefined, 'rsa', at)
    const [url, fetched, nowMs]: [string, string[], number] = [newUrl(), [], NOW + 1_200_000]
    const elsewhere = {
      'https://cacerts.digicert.com/Between.crt': new X509Certificate(between.cert).raw,
    }
    const verdict = verdictOf({ key: issued.key, served: issued.cert, url, elsewhere, fetched, nowMs })
    if (found) expect(await verdict).toBe(true)
    else await expect(verdict).rejects.toMatchObject(UNAVAILABLE)
    expect(fetched).toEqual(found ? [url, 'https://cacerts.digicert.com/Between.crt'] : [url])
  })

  it('is asked for a few times a second at new addresses, which holds up no address that had one before', async () => {
    const [known, issued, fetched] = [newUrl(), root.issue(NAME, '270101', 'rsa'), [] as string[]]
    const nowMs = NOW + 6_000_000
    const of = { url: known, key: issued.key, served: issued.cert, fetched }
    expect(await verdictOf({ ...of, nowMs })).toBe(true)
    const forge = (atMs: number) => verdictOf({ nowMs: atMs, fetched, key: issued.key, served: 'none' })
    for (let at = 0; at < 19; at += 1) expect(await forge(nowMs)).toBe('signature_mismatch')
    for (let at = 0; at < 10; at += 1) await expect(forge(nowMs)).rejects.toMatchObject(UNAVAILABLE)
    expect(fetched).toHaveLength(20)
    expect(await verdictOf({ ...of, nowMs })).toBe(true)
    // Also when it is past its time and has to be asked for anew.
    const [renewed, later] = [root.issue(NAME, undefined, 'rsa'), Date.parse('2027-01-02T00:00:00Z')]
    for (let at = 0; at < 20; at += 1) expect(await forge(later)).toBe('signature_mismatch')
    await expect(forge(later)).rejects.toMatchObject(UNAVAILABLE)
    expect(await verdictOf({ ...of, key: renewed.key, served: renewed.cert, nowMs: later })).toBe(true)
    expect(await forge(later + 500)).toBe('signature_mismatch')
    await expect(forge(later + 500)).rejects.toMatchObject(UNAVAILABLE)
  })
})

describe('the event', () => {
  it.each([
    ['https://api.paypal.com/v1/notifications/certs/CERT-1', true],
    ['https://api-m.paypal.com/v1/notifications/certs/CERT-1', true],
    ['https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1', false],
    ['https://evil.example/', null],
  ])('that is signed by %s is live: %s', (url, livemode) => {
    const signed = { raw: sample.body(), headers: { 'paypal-cert-url': [url] }, url: undefined, nowMs: NOW }
    expect(paypal.events(paypal.parse(signed.raw), signed, {})).toEqual([
      {
        eventId: 'WH-SAMPLE-1',
        type: 'PAYMENT.CAPTURE.COMPLETED',
        accounts: [],
        livemode,
        occurredAt: new Date('2026-11-21T11:59:58Z'),
      },
    ])
  })
})
