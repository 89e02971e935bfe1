import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/** A certificate and its private key, both in PEM. */
export interface Pem {
  readonly key: string
  readonly cert: string
}

export type KeyType = 'ec' | 'rsa'

/** A throw-away authority. */
export interface Authority extends Pem {
  /** A certificate of it for one DNS name, valid from 2020 to `until` (UTCTime, `YYMMDD`). */
  issue(name: string, until?: string, keyType?: KeyType, issuerAt?: string): Pem
  /** An authority of its own under this one. */
  authority(name: string): Authority
}

/** DER (X.690): tag, length, content. */
function der(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content)
  const length =
    body.length < 0x80
      ? Buffer.from([body.length])
      : Buffer.from([0x82, body.length >> 8, body.length & 0xff])
  return Buffer.concat([Buffer.from([tag]), length, body])
}

const hex = (text: string) => Buffer.from(text, 'hex')
const ECDSA_WITH_SHA256 = der(0x30, hex('06082a8648ce3d040302'))
const NEVER = '491231'

const nameOf = (name: string) =>
  der(0x30, der(0x31, der(0x30, hex('0603550403'), der(0x0c, Buffer.from(name)))))
const ALT_NAME = '0603551d11'
const BASIC_CONSTRAINTS = '0603551d13'
const AUTHORITY_INFO = '06082b06010505070101'
const CA_ISSUERS = '06082b06010505073002'
const extension = (id: string, value: Buffer) => der(0x30, hex(id), der(0x04, value))

/** A certificate (RFC 5280), for a name or for an authority. */
function certificate(of: {
  readonly subject: string
  readonly until: string
  readonly authority: boolean
  readonly keyType?: KeyType | undefined
  /** Where the certificate of the issuer can be had. */
  readonly issuerAt?: string | undefined
  readonly issuer?: { readonly name: string; readonly key: KeyObject }
}): Pem & { readonly privateKey: KeyObject } {
  const { privateKey, publicKey } =
    of.keyType === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2_048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { subject, until, authority, issuer = { name: subject, key: privateKey } } = of
  const time = (day: string) => der(0x17, Buffer.from(`${day}000000Z`))
  const extensions = authority
    ? extension(BASIC_CONSTRAINTS, der(0x30, der(0x01, Buffer.from([0xff]))))
    : extension(ALT_NAME, der(0x30, der(0x82, Buffer.from(subject))))
  const info = of.issuerAt
    ? extension(AUTHORITY_INFO, der(0x30, der(0x30, hex(CA_ISSUERS), der(0x86, Buffer.from(of.issuerAt)))))
    : Buffer.alloc(0)
  const tbs = der(
    0x30,
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ECDSA_WITH_SHA256,
    nameOf(issuer.name),
    der(0x30, time('200101'), time(until)),
    nameOf(subject),
    publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa3, der(0x30, extensions, info)),
  )
  const signature = der(0x03, Buffer.from([0]), sign('sha256', tbs, issuer.key))
  const cert = der(0x30, tbs, ECDSA_WITH_SHA256, signature).toString('base64')
  const key = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  return { key, cert: `-----BEGIN CERTIFICATE-----\n${cert}\n-----END CERTIFICATE-----\n`, privateKey }
}

/** A self-signed certificate for one DNS name, valid from 2020 to `until` (UTCTime, `YYMMDD`). */
export function selfSigned(name: string, until = NEVER): Pem {
  const { key, cert } = certificate({ subject: name, until, authority: false })
  return { key, cert }
}

function authorityOf(
  { key, cert, privateKey }: Pem & { readonly privateKey: KeyObject },
  name: string,
): Authority {
  const issuer = { name, key: privateKey }
  return {
    key,
    cert,
    issue: (subject, until = NEVER, keyType = 'ec', issuerAt = undefined) => {
      const issued = certificate({ subject, until, authority: false, keyType, issuerAt, issuer })
      return { key: issued.key, cert: issued.cert }
    },
    authority: (subject) =>
      authorityOf(certificate({ subject, until: NEVER, authority: true, issuer }), subject),
  }
}

export const throwAwayAuthority = (name: string): Authority =>
  authorityOf(certificate({ subject: name, until: NEVER, authority: true }), name)
