import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import {
  answer,
  type Behaviour,
  brotliBomb,
  CHUNK_64K,
  drips,
  encodingChain,
  gzipBomb,
  head,
  type MisbehavingUpstream,
  onRequest,
  pours,
  resetsAfter,
  says,
  saysAndEnds,
  startMisbehavingUpstream,
} from '../../../testing/misbehaving-upstream.ts'
import { systemClock } from '../../platform/clock.ts'
import { createDial, type Dial } from '../../platform/dial/dial.ts'
import { createMetrics } from '../../platform/metrics.ts'
import type { CallFailure } from '../../resilience/failure.ts'
import { compileConnector, invokeOperation } from './connectors.ts'

const MEBIBYTE = 1024 * 1024
/** What hangs ends by the first; the second is for what must end by itself, on however busy a machine. */
const SHORT_MS = 250
const ATTEMPT_MS = 10_000

let upstream: MisbehavingUpstream
let dial: Dial
beforeEach(async () => {
  upstream = await startMisbehavingUpstream()
  dial = createDial({
    allowCidrs: ['127.0.0.1/32'],
    metrics: createMetrics('test', false),
    log: pino({ level: 'silent' }),
  })
})
afterEach(async () => {
  await dial.close()
  await upstream.close()
})

const OPERATIONS = {
  unsafe: { method: 'POST', path: '/', body: {} },
  keyed: { method: 'POST', path: '/', body: {}, idempotency_key_header: 'Idempotency-Key' },
}

function call(
  operation: keyof typeof OPERATIONS,
  attemptMs = ATTEMPT_MS,
  { scheme = 'http', connectTimeoutMs = 5_000 } = {},
) {
  const connector = compileConnector({
    name: 'bad',
    lane: 1,
    config: {
      kind: 'http',
      settings: { base_url: `${scheme}://127.0.0.1:${upstream.port}`, operations: OPERATIONS },
    },
  })
  const deps = { dial, clock: systemClock, resolveSecret: () => expect.unreachable('there is no secret') }
  return invokeOperation(
    deps,
    connector,
    operation,
    {},
    {
      signal: AbortSignal.timeout(attemptMs),
      connectTimeoutMs,
      remainingMs: attemptMs,
      idempotencyKey: 'key',
      attemptToken: 'attempt',
      traceparent: '',
    },
  ).then(
    ({ output }) => `success ${output}`,
    (failure: CallFailure) => `${failure.class} ${failure.kind}`,
  )
}

const flood = Buffer.from('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n')
const UNKNOWN = 'outcome_unknown'

/** What it does, the failure of an operation that may not be repeated, and of one that may. */
const TABLE: readonly [string, Behaviour, string, string][] = [
  ['accepts and says nothing', () => undefined, `${UNKNOWN} timeout`, 'safe_to_repeat timeout'],
  [
    'reads the request and says nothing',
    onRequest(() => undefined),
    `${UNKNOWN} timeout`,
    'safe_to_repeat timeout',
  ],
  [
    'stops within the head',
    says('HTTP/1.1 200 OK\r\ncontent-'),
    `${UNKNOWN} timeout`,
    'safe_to_repeat timeout',
  ],
  ['stops after the head', says(head('content-length: 5')), `${UNKNOWN} timeout`, 'safe_to_repeat timeout'],
  [
    'stops within the body',
    says(`${head('content-length: 5')}ab`),
    `${UNKNOWN} timeout`,
    'safe_to_repeat timeout',
  ],
  [
    'stops within a chunk',
    says(`${head('transfer-encoding: chunked')}5\r\nab`),
    `${UNKNOWN} timeout`,
    'safe_to_repeat timeout',
  ],
  [
    'drips its head',
    drips('', 'HTTP/1.1 200 OK\r\nx: y\r\n'),
    `${UNKNOWN} timeout`,
    'safe_to_repeat timeout',
  ],
  [
    'drips its body',
    drips(head('content-length: 1000'), 'x'),
    `${UNKNOWN} timeout`,
    'safe_to_repeat timeout',
  ],
  ['resets after the request', resetsAfter(''), `${UNKNOWN} reset`, 'safe_to_repeat reset'],
  [
    'resets within the head',
    resetsAfter('HTTP/1.1 200 OK\r\ncontent-'),
    `${UNKNOWN} reset`,
    'safe_to_repeat reset',
  ],
  [
    'resets within the body',
    resetsAfter(`${head('content-length: 5')}ab`),
    `${UNKNOWN} reset`,
    'safe_to_repeat reset',
  ],
  ['closes without a word', saysAndEnds(''), `${UNKNOWN} reset`, 'safe_to_repeat reset'],
  [
    'closes within the body',
    saysAndEnds(`${head('content-length: 100')}short`),
    `${UNKNOWN} reset`,
    'safe_to_repeat reset',
  ],
  [
    'closes within a chunk',
    saysAndEnds(`${head('transfer-encoding: chunked')}5\r\nab`),
    `${UNKNOWN} reset`,
    'safe_to_repeat reset',
  ],
  [
    'sends ten gigabytes in chunks',
    pours(head('transfer-encoding: chunked'), CHUNK_64K),
    'permanent response_too_large',
    'permanent response_too_large',
  ],
  [
    'sends ten gigabytes until it closes',
    pours(head('connection: close'), CHUNK_64K),
    'permanent response_too_large',
    'permanent response_too_large',
  ],
  [
    'announces ten gigabytes',
    says(head('content-length: 10737418240')),
    'permanent response_too_large',
    'permanent response_too_large',
  ],
  ['sends a gzip bomb', gzipBomb(), 'permanent protocol', 'permanent protocol'],
  ['sends a gzip bomb as an error', gzipBomb('503 No'), `${UNKNOWN} protocol`, 'safe_to_repeat protocol'],
  ['sends a brotli bomb', brotliBomb(), 'permanent protocol', 'permanent protocol'],
  ['encodes a hundred times', encodingChain(), 'permanent protocol', 'permanent protocol'],
  [
    'sends headers without end',
    pours('HTTP/1.1 200 OK\r\n', Buffer.from(`x-header: ${'y'.repeat(4_000)}\r\n`)),
    `${UNKNOWN} protocol`,
    'safe_to_repeat protocol',
  ],
  [
    'sends one header without end',
    pours('HTTP/1.1 200 OK\r\nx: ', CHUNK_64K.subarray(7, -2)),
    `${UNKNOWN} protocol`,
    'safe_to_repeat protocol',
  ],
  ['sends hints without end', pours('', flood), `${UNKNOWN} protocol`, 'safe_to_repeat protocol'],
  [
    'switches protocols unasked',
    says('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
    `${UNKNOWN} reset`,
    'safe_to_repeat reset',
  ],
  [
    'redirects to the metadata service',
    says(
      'HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n',
    ),
    'permanent http_3xx',
    'permanent http_3xx',
  ],
  [
    'counts its chunks in letters',
    says(`${head('transfer-encoding: chunked')}zz\r\n`),
    `${UNKNOWN} protocol`,
    'safe_to_repeat protocol',
  ],
  [
    'sends a chunk that is longer than it says',
    says(`${head('transfer-encoding: chunked')}2\r\nabcdef\r\n0\r\n\r\n`),
    `${UNKNOWN} protocol`,
    'safe_to_repeat protocol',
  ],
  [
    'says two lengths',
    says(`${head('content-length: 2', 'content-length: 3')}abc`),
    `${UNKNOWN} protocol`,
    'safe_to_repeat protocol',
  ],
  [
    'says a length and chunks',
    says(`${head('content-length: 2', 'transfer-encoding: chunked')}2\r\nab\r\n0\r\n\r\n`),
    `${UNKNOWN} protocol`,
    'safe_to_repeat protocol',
  ],
  [
    'says a negative length',
    says(head('content-length: -1')),
    `${UNKNOWN} protocol`,
    'safe_to_repeat protocol',
  ],
  [
    'has a NUL in a header',
    says(head('x: a\0b', 'content-length: 0')),
    `${UNKNOWN} protocol`,
    'safe_to_repeat protocol',
  ],
  ['speaks HTTP/0.9', saysAndEnds('<html>hello</html>'), `${UNKNOWN} protocol`, 'safe_to_repeat protocol'],
  ['speaks SMTP', says('220 mail.example ESMTP\r\n'), `${UNKNOWN} protocol`, 'safe_to_repeat protocol'],
]

test.each(TABLE)('an upstream that %s', async (_what, behaviour, unsafe, keyed) => {
  upstream.behave(behaviour)
  const attemptMs = unsafe.endsWith('timeout') ? SHORT_MS : ATTEMPT_MS
  expect(await call('unsafe', attemptMs)).toBe(unsafe)
  expect(await call('keyed', attemptMs)).toBe(keyed)
  await vi.waitFor(() => expect(upstream.sockets.size).toBe(0))
})

test('one that resets each connection at once has seen nothing, or nobody knows', async () => {
  upstream.behave((socket) => socket.resetAndDestroy())
  for (let round = 0; round < 5; round += 1)
    expect(await call('unsafe')).toMatch(/^(never_sent|outcome_unknown) reset$/)
})

test('one that accepts but never finishes TLS: nothing was sent', async () => {
  upstream.behave(() => undefined)
  expect(await call('unsafe', ATTEMPT_MS, { scheme: 'https', connectTimeoutMs: 100 })).toBe(
    'never_sent connect_timeout',
  )
  // undici goes on connecting for later requests until its own limit is over, or the dial is closed.
  await dial.close()
  await vi.waitFor(() => expect(upstream.sockets.size).toBe(0))
})

test('one that sends ten gigabytes does not fill the memory', async () => {
  upstream.behave(pours(head('transfer-encoding: chunked'), CHUNK_64K))
  await call('keyed')
  const before = process.memoryUsage.rss()
  let most = before
  const sampling = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss())
  }, 1)
  for (let round = 0; round < 20; round += 1) expect(await call('keyed')).toMatch(/too_large/)
  clearInterval(sampling)
  expect((Math.max(most, process.memoryUsage.rss()) - before) / MEBIBYTE).toBeLessThan(64)
})

test('a body beyond its announced length is not read, and no other request gets it', async () => {
  upstream.behave(
    onRequest((socket) => socket.write(`${answer('first')}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil`)),
  )
  for (let round = 0; round < 3; round += 1) expect(await call('unsafe')).toBe('success first')
})

test('one that closes a kept connection when it is used again: nobody knows, and the next call is fine', async () => {
  upstream.behave(onRequest((socket, number) => (number === 1 ? socket.write(answer('ok')) : socket.end())))
  const outcomes: string[] = []
  // Whether the first connection is free again already is up to the event loop.
  for (let round = 0; round < 6; round += 1) outcomes.push(await call('unsafe'))
  expect(new Set(outcomes)).toEqual(new Set(['success ok', 'outcome_unknown reset']))
})

test('one that closes after each answer without saying so costs a connection and no call', async () => {
  upstream.behave(onRequest((socket) => socket.end(answer('ok'))))
  for (let round = 0; round < 5; round += 1) {
    await vi.waitFor(() => expect(upstream.sockets.size).toBe(0))
    expect(await call('unsafe')).toBe('success ok')
  }
  expect(upstream.connections).toBe(5)
})
