import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { createMetrics } from '../metrics.ts'
import { createDial } from './dial.ts'

const cleanUps: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

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

/** A self-signed certificate for one DNS name (RFC 5280), valid from 2020 to `until` (UTCTime, `YYMMDD`). */
function selfSigned(name: string, until: string): { key: KeyObject; cert: string } {
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
  return { key: privateKey, cert: `-----BEGIN CERTIFICATE-----\n${cert}\n-----END CERTIFICATE-----\n` }
}

async function tlsServer(name: string, until = '491231') {
  const { key, cert } = selfSigned(name, until)
  const names: unknown[] = []
  const server = createTlsServer(
    { key: key.export({ format: 'pem', type: 'pkcs8' }), cert },
    (request, response) => {
      names.push((request.socket as { servername?: unknown }).servername)
      response.end('secure')
    },
  ).listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanUps.push(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { cert, names, port: (server.address() as AddressInfo).port }
}

async function ask(url: string, certificates: string[]) {
  const dial = createDial({
    allowCidrs: ['127.0.0.0/8'],
    metrics: createMetrics('test', false),
    log: pino({ level: 'silent' }),
    resolveHost: async () => ['127.0.0.1'],
    certificates,
  })
  cleanUps.push(() => dial.close())
  const { signal } = new AbortController()
  return dial
    .request({ method: 'GET', url, headers: {}, signal, connectTimeoutMs: 5_000, maxResponseBytes: 100 })
    .then(
      ({ body }) => body.toString(),
      (error: { class: string; sent: string }) => `${error.class}, ${error.sent} sent`,
    )
}

test('the certificate is checked against the name although an address is dialled, and the name is sent', async () => {
  const { cert, names, port } = await tlsServer('api.example')
  expect(await ask(`https://api.example:${port}/`, [cert])).toBe('secure')
  expect(names).toEqual(['api.example'])
  expect(await ask(`https://other.example:${port}/`, [cert])).toBe('tls, never sent')
})

test('an unknown issuer and an expired certificate are refused', async () => {
  const known = await tlsServer('api.example')
  expect(await ask(`https://api.example:${known.port}/`, [])).toBe('tls, never sent')
  const expired = await tlsServer('api.example', '210101')
  expect(await ask(`https://api.example:${expired.port}/`, [expired.cert])).toBe('tls, never sent')
})

test('an upstream that does not speak TLS', async () => {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined)
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n').resume()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanUps.push(() => new Promise((resolve) => server.close(resolve)))
  const { port } = server.address() as AddressInfo
  expect(await ask(`https://api.example:${port}/`, [])).toBe('tls, never sent')
})
