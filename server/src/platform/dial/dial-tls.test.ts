import { once } from 'node:events'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { selfSigned } from '../../../testing/self-signed.ts'
import { createMetrics } from '../metrics.ts'
import { createDial } from './dial.ts'

const cleanUps: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

async function tlsServer(name: string, until = '491231') {
  const { key, cert } = selfSigned(name, until)
  const names: unknown[] = []
  const server = createTlsServer({ key, cert }, (request, response) => {
    names.push((request.socket as { servername?: unknown }).servername)
    response.end('secure')
  }).listen(0, '127.0.0.1')
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
