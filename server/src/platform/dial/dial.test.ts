import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { pino } from 'pino'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createMetrics } from '../metrics.ts'
import { createDial, type Dial, type DialOptions } from './dial.ts'
import type { DialRequest } from './dial-request.ts'

const cleanUps: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

function dialWith(options: Partial<DialOptions> = {}): Dial {
  const dial = createDial({
    allowCidrs: ['127.0.0.0/8'],
    metrics: createMetrics('test', false),
    log: pino({ level: 'silent' }),
    ...options,
  })
  cleanUps.push(() => dial.close())
  return dial
}

async function httpServer(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanUps.push(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { server, port: (server.address() as AddressInfo).port }
}

/** A server that speaks whatever `talk` writes; it is called once the head of a request has arrived. */
async function rawServer(talk: (socket: Socket) => void) {
  const sockets = new Set<Socket>()
  const server = createTcpServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    socket.once('data', () => talk(socket))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanUps.push(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return { port: (server.address() as AddressInfo).port, sockets }
}

const get = (url: string, extra: Partial<DialRequest> = {}): DialRequest => ({
  method: 'GET',
  url,
  headers: {},
  signal: new AbortController().signal,
  connectTimeoutMs: 5_000,
  maxResponseBytes: 1_000,
  ...extra,
})

const failure = async (answer: Promise<unknown>) => {
  const error = await answer.then(
    () => expect.unreachable('it was answered'),
    (reason: unknown) => reason,
  )
  const { class: failureClass, sent, status } = error as { class: string; sent: string; status?: number }
  return status === undefined ? `${failureClass}, ${sent} sent` : `${failureClass}, ${sent} sent, ${status}`
}

describe('what is sent and answered', () => {
  test('method, path, query, headers and body arrive; status, headers and body come back', async () => {
    const { port } = await httpServer(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      response.writeHead(418, { 'content-type': 'text/plain', 'x-two': ['a', 'b'] })
      response.end(`${request.method} ${request.url} ${request.headers['x-one']} ${Buffer.concat(chunks)}`)
    })
    const answer = await dialWith().request(
      get(`http://127.0.0.1:${port}/a/b?c=d%20e`, {
        method: 'POST',
        headers: { 'x-one': '1' },
        body: 'héllo',
      }),
    )
    expect(answer.status).toBe(418)
    expect(answer.headers['x-two']).toBe('a, b')
    expect(answer.body.toString()).toBe('POST /a/b?c=d%20e 1 héllo')
  })

  test('connections are kept alive and used again', async () => {
    const ports = new Set<number | undefined>()
    const { port } = await httpServer((request, response) => {
      ports.add(request.socket.remotePort)
      response.end('ok')
    })
    const dial = dialWith()
    for (let i = 0; i < 8; i += 1) await dial.request(get(`http://127.0.0.1:${port}/`))
    // A connection is free again only after a turn of the event loop, so two of them take turns.
    expect(ports.size).toBeLessThanOrEqual(2)
  })

  test('a redirect is an answer and is not followed', async () => {
    const paths: (string | undefined)[] = []
    const { port } = await httpServer((request, response) => {
      paths.push(request.url)
      response.writeHead(302, { location: 'http://169.254.169.254/' }).end()
    })
    const answer = await dialWith().request(get(`http://127.0.0.1:${port}/from`))
    expect([answer.status, answer.headers.location]).toEqual([302, 'http://169.254.169.254/'])
    expect(paths).toEqual(['/from'])
  })

  test('an informational answer is not the answer', async () => {
    const { port } = await rawServer((socket) =>
      socket.end('HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'),
    )
    expect((await dialWith().request(get(`http://127.0.0.1:${port}/`))).body.toString()).toBe('ok')
  })

  test.each([
    ['a line feed', { 'x-a': 'b\nc: d' }],
    ['a carriage return', { 'x-a': 'b\rc' }],
    ['a NUL', { 'x-a': 'b\0' }],
    ['a character that Latin-1 would turn into a line feed', { 'x-a': 'b\u010ac' }],
    ['a name with a space', { 'x a': 'b' }],
    ['another host', { Host: 'internal' }],
    ['a framing header', { 'transfer-encoding': 'chunked' }],
    ['an asked-for encoding', { 'accept-encoding': 'gzip' }],
  ])('headers with %s are refused before anything is sent', async (_name, headers) => {
    let requests = 0
    const { port } = await httpServer((_request, response) => {
      requests += 1
      response.end()
    })
    expect(await failure(dialWith().request(get(`http://127.0.0.1:${port}/`, { headers })))).toBe(
      'protocol, never sent',
    )
    expect(requests).toBe(0)
  })
})

describe('where it may go', () => {
  const URLS = [
    'http://127.0.0.1/',
    'http://127.1/',
    'http://0x7f.1/',
    'http://0177.0.0.1/',
    'http://2130706433/',
    'http://①②⑦.⓪.⓪.①/',
    'http://127。0。0。1/',
    'http://[::1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:7f00:1]/',
    'http://[::7f00:1]/',
    'http://[0:0:0:0:0:0:0:1]/',
    'http://0/',
    'http://0.0.0.0/',
    'http://localhost/',
    'http://localhost./',
    'http://LOCALHOST/',
    'http://%6c%6f%63alhost/',
    'http://169.254.169.254/latest/meta-data/',
    'http://metadata.google.internal/',
    'http://[fd00:ec2::254]/',
    'https://10.0.0.1/',
    'http://user@1.1.1.1/',
    'http://user:pass@example.com/',
    'ftp://example.com/',
    'file:///etc/passwd',
    'gopher://example.com/',
    'javascript:alert(1)',
    '//example.com/',
    'not a url',
  ]

  test.each(URLS)('%s is refused without a connection', async (url) => {
    const dial = dialWith({ allowCidrs: [], resolveHost: async () => ['127.0.0.1'] })
    expect(await failure(dial.request(get(url)))).toBe('address_forbidden, never sent')
  })

  test('a loopback literal on the port of a listening server is not reached', async () => {
    let connections = 0
    const { server, port } = await httpServer((_request, response) => response.end('secret'))
    server.on('connection', () => {
      connections += 1
    })
    const dial = dialWith({ allowCidrs: [] })
    for (const host of ['127.0.0.1', '2130706433', '[::ffff:127.0.0.1]', 'localhost'])
      expect(await failure(dial.request(get(`http://${host}:${port}/`))), host).toBe(
        'address_forbidden, never sent',
      )
    expect(connections).toBe(0)
  })

  test('one forbidden address among several refuses the name', async () => {
    const dial = dialWith({ resolveHost: async () => ['127.0.0.1', '10.0.0.1'] })
    expect(await failure(dial.request(get('http://mixed.example/')))).toBe('address_forbidden, never sent')
  })

  test('metadata stays forbidden inside an allowed network', async () => {
    const dial = dialWith({ allowCidrs: ['0.0.0.0/0'], resolveHost: async () => ['169.254.169.254'] })
    expect(await failure(dial.request(get('http://rebind.example/')))).toBe('address_forbidden, never sent')
  })

  test('the address that was checked is the one that is dialled, whatever the name answers next', async () => {
    const { port } = await httpServer((_request, response) => {
      response.setHeader('connection', 'close')
      response.end('checked')
    })
    const answers = [['127.0.0.1'], ['10.0.0.1']]
    const resolveHost = vi.fn(async () => answers.shift() ?? [])
    const dial = dialWith({ resolveHost })
    const url = `http://rebind.example:${port}/`
    expect((await dial.request(get(url))).body.toString()).toBe('checked')
    expect(resolveHost).toHaveBeenCalledTimes(1)
    expect(await failure(dial.request(get(url)))).toBe('address_forbidden, never sent')
    expect(await failure(dial.request(get(url)))).toBe('dns, never sent')
  })

  test('the second address of a name is tried when the first one is dead', async () => {
    const { port } = await httpServer((_request, response) => response.end('second'))
    const dial = dialWith({
      allowCidrs: ['127.0.0.0/8', '::1/128'],
      resolveHost: async () => ['::1', '127.0.0.1'],
    })
    expect((await dial.request(get(`http://two.example:${port}/`))).body.toString()).toBe('second')
  })

  test('a refused target is logged with its address and counted', async () => {
    const lines: string[] = []
    const metrics = createMetrics('test', false)
    const log = pino({ level: 'warn' }, { write: (line) => lines.push(line) })
    const dial = dialWith({ allowCidrs: [], log, metrics, resolveHost: async () => ['10.1.2.3'] })
    await failure(dial.request(get('http://inside.example/')))
    expect(JSON.parse(lines[0] ?? '{}')).toMatchObject({ hostname: 'inside.example', address: '10.1.2.3' })
    expect(await metrics.registry.metrics()).toMatch(
      /outbound_request_seconds_count{.*address_forbidden.*} 1/,
    )
  })

  test('refusal() tells at once what can never be dialled, and nothing about names', () => {
    const dial = dialWith()
    expect(dial.refusal('http://10.0.0.1/')).toMatch(/not allowed/)
    expect(dial.refusal('http://127.0.0.1/')).toBeUndefined()
    expect(dial.refusal('https://api.example.com/')).toBeUndefined()
  })
})

describe('an answer of which only the head matters stands, whatever becomes of its body', () => {
  const head = (fields: string, status = '200 OK') => `HTTP/1.1 ${status}\r\n${fields}\r\n\r\n`
  test.each<[string, string, (socket: Socket) => void]>([
    [
      'announced as too long',
      '200 x*1000',
      (socket) => socket.write(head('content-length: 10000000000') + 'x'.repeat(5_000)),
    ],
    [
      'in chunks without end',
      '500 x*1000',
      (socket) => {
        socket.write(head('transfer-encoding: chunked', '500 Broken'))
        const pour = () => {
          while (socket.writable && socket.write(`400\r\n${'x'.repeat(0x400)}\r\n`));
        }
        socket.on('drain', pour)
        pour()
      },
    ],
    [
      'as long as allowed',
      '200 x*1000',
      (socket) => socket.end(head('content-length: 1000') + 'x'.repeat(1_000)),
    ],
    [
      'broken off',
      '503 x*5',
      (socket) => socket.write(`${head('content-length: 100', '503 Away')}xxxxx`, () => socket.destroySoon()),
    ],
    ['encoded', '201 x*0', (socket) => socket.end(`${head('content-encoding: gzip', '201 Created')}xx`)],
  ])('%s', async (_name, expected, talk) => {
    const { port, sockets } = await rawServer(talk)
    const { status, body } = await dialWith().request(
      get(`http://127.0.0.1:${port}/`, { onBodyFault: 'cut' }),
    )
    expect(`${status} x*${body.toString().split('x').length - 1}`).toBe(expected)
    // Nobody goes on reading.
    await vi.waitFor(() => expect(sockets.size).toBe(0))
  })

  test('too slow', async () => {
    const { port } = await rawServer((socket) => socket.write(`${head('content-length: 100')}x`))
    const asked = dialWith().request(
      get(`http://127.0.0.1:${port}/`, { onBodyFault: 'cut', signal: AbortSignal.timeout(200) }),
    )
    expect(await asked).toMatchObject({ status: 200, body: Buffer.from('x') })
  })

  test('without a head there is no answer', async () => {
    const { port } = await rawServer((socket) => socket.resetAndDestroy())
    const asked = dialWith().request(get(`http://127.0.0.1:${port}/`, { onBodyFault: 'cut' }))
    expect(await failure(asked)).toMatch(/reset/)
  })
})

describe('a misbehaving upstream', () => {
  const answering = (head: string, body = '') => `HTTP/1.1 200 OK\r\n${head}\r\n\r\n${body}`
  const CASES: [string, string, (socket: Socket) => void][] = [
    ['resets the connection', 'reset, maybe sent', (socket) => socket.resetAndDestroy()],
    ['closes without an answer', 'reset, maybe sent', (socket) => socket.end()],
    ['does not speak HTTP', 'protocol, maybe sent', (socket) => socket.end('220 mail.example ESMTP\r\n')],
    [
      'announces a huge body',
      'response_too_large, maybe sent, 200',
      (socket) => socket.write(answering('content-length: 10000000000')),
    ],
    [
      'sends a huge body in chunks without end',
      'response_too_large, maybe sent, 200',
      (socket) => {
        socket.write(answering('transfer-encoding: chunked'))
        const pour = () => {
          while (socket.writable && socket.write(`400\r\n${'x'.repeat(0x400)}\r\n`));
        }
        socket.on('drain', pour)
        pour()
      },
    ],
    [
      'sends endless headers',
      'protocol, maybe sent',
      (socket) => socket.write(answering(`x: ${'y'.repeat(70_000)}`)),
    ],
    [
      'packs its answer',
      'protocol, maybe sent, 200',
      (socket) => {
        const packed = gzipSync('x'.repeat(100_000))
        socket.write(answering(`content-encoding: gzip\r\ncontent-length: ${packed.length}`))
        socket.write(packed)
      },
    ],
    [
      'says two lengths',
      'protocol, maybe sent',
      (socket) => socket.write(answering('content-length: 2\r\ncontent-length: 3', 'abc')),
    ],
  ]
  test.each(CASES)('that %s: %s', async (_name, expected, talk) => {
    const { port } = await rawServer(talk)
    expect(await failure(dialWith().request(get(`http://127.0.0.1:${port}/`)))).toBe(expected)
  })

  test('that closes before the announced length is no complete answer', async () => {
    const { port } = await rawServer((socket) => socket.end(answering('content-length: 100', 'short')))
    expect(await failure(dialWith().request(get(`http://127.0.0.1:${port}/`)))).toMatch(
      /^(reset|protocol), maybe/,
    )
  })

  test('that never answers: the signal ends it as a timeout or as aborted, and closes the connection', async () => {
    const { port, sockets } = await rawServer(() => undefined)
    for (const [reason, expected] of [
      [new DOMException('late', 'TimeoutError'), 'timeout, maybe sent'],
      [new Error('cancelled'), 'aborted, maybe sent'],
    ] as const) {
      const controller = new AbortController()
      const answer = failure(
        dialWith().request(get(`http://127.0.0.1:${port}/`, { signal: controller.signal })),
      )
      await vi.waitFor(() => expect([...sockets].some((socket) => socket.bytesRead > 0)).toBe(true))
      controller.abort(reason)
      expect(await answer).toBe(expected)
      await vi.waitFor(() => expect(sockets.size).toBe(0))
    }
  })

  test('that drips its answer is ended by the signal', async () => {
    const { port } = await rawServer((socket) => {
      socket.write(answering('content-length: 1000'))
      const drip = setInterval(() => socket.write('x'), 5)
      socket.on('close', () => clearInterval(drip))
    })
    const signal = AbortSignal.timeout(100)
    expect(await failure(dialWith().request(get(`http://127.0.0.1:${port}/`, { signal })))).toBe(
      'timeout, maybe sent',
    )
  })

  test('that never begins to answer is ended by the time limit for headers', async () => {
    const { port } = await rawServer(() => undefined)
    const answer = dialWith().request(get(`http://127.0.0.1:${port}/`, { headersTimeoutMs: 30 }))
    expect(await failure(answer)).toBe('timeout, maybe sent')
  })

  test('nobody listens', async () => {
    const { server, port } = await httpServer(() => undefined)
    await new Promise((resolve) => server.close(resolve))
    expect(await failure(dialWith().request(get(`http://127.0.0.1:${port}/`)))).toBe('refused, never sent')
  })

  test('a name server that never answers is a connect timeout, and an abort meanwhile is never sent', async () => {
    const dial = dialWith({ resolveHost: () => new Promise(() => undefined) })
    expect(await failure(dial.request(get('http://hang.example/', { connectTimeoutMs: 20 })))).toBe(
      'connect_timeout, never sent',
    )
    const signal = AbortSignal.timeout(20)
    expect(await failure(dial.request(get('http://hang.example/', { signal })))).toBe('timeout, never sent')
    const aborted = AbortSignal.abort(new Error('cancelled'))
    expect(await failure(dial.request(get('http://hang.example/', { signal: aborted })))).toBe(
      'aborted, never sent',
    )
  })

  test('closing the dial gives up what is under way', async () => {
    const { port, sockets } = await rawServer(() => undefined)
    const dial = dialWith()
    const answer = failure(dial.request(get(`http://127.0.0.1:${port}/`)))
    await vi.waitFor(() => expect([...sockets].some((socket) => socket.bytesRead > 0)).toBe(true))
    await dial.close()
    expect(await answer).toBe('aborted, maybe sent')
  })
})
