import { generateKeyPairSync, sign } from 'node:crypto'

/** DER (X.690): tag, length, content. */
function der(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content)
  const length =
    body.length < 0x80
      ? Buffer.from([body.length])
      : Buffer.from([0x82, body.length >> 8, body.length & 0xff])
  return Buffer.concat([Buffer.from([tag]), length, body])
}

const ECDSA_WITH_SHA256 = der(0x30, Buffer.from('06082a8648ce3d040302', 'hex'))

/** A self-signed certificate for one DNS name (RFC 5280), valid from 2020 to `until` (UTCTime, `YYMMDD`); both in PEM. */
export function selfSigned(name: string, until = '491231'): { readonly key: string; readonly cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const commonName = der(0x30, Buffer.from('0603550403', 'hex'), der(0x0c, Buffer.from(name)))
  const subject = der(0x30, der(0x31, commonName))
  const time = (day: string) => der(0x17, Buffer.from(`${day}000000Z`))
  const altName = der(0x30, der(0x82, Buffer.from(name)))
  const extension = der(0x30, Buffer.from('0603551d11', 'hex'), der(0x04, altName))
  const tbs = der(
    0x30,
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([1])),
    ECDSA_WITH_SHA256,
    subject,
    der(0x30, time('200101'), time(until)),
    subject,
    publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa3, der(0x30, extension)),
  )
  const signature = der(0x03, Buffer.from([0]), sign('sha256', tbs, privateKey))
  const cert = der(0x30, tbs, ECDSA_WITH_SHA256, signature).toString('base64')
  const key = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  return { key, cert: `-----BEGIN CERTIFICATE-----\n${cert}\n-----END CERTIFICATE-----\n` }
}
