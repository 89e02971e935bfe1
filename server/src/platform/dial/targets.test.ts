import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createMetrics } from '../metrics.ts'
import { createDial, type Dial, type DialOptions } from './dial.ts'
import { DialFailure } from './dial-failure.ts'

/** Ways to write an address of this machine, by URL parsers, resolvers and transition schemes. */
const LOOPBACK = [
  '127.0.0.1',
  '127.1',
  '127.0.1',
  '127.255.255.254',
  '0x7f.1',
  '0x7f000001',
  '0x7f.0x0.0x0.0x1',
  '0177.0.0.1',
  '017700000001',
  '2130706433',
  '①②⑦.⓪.⓪.①',
  '127。0。0。1',
  '１２７.０.０.１',
  '%31%32%37.0.0.1',
  '0',
  '0.0.0.0',
  '::1',
  '0:0:0:0:0:0:0:1',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '::7f00:1',
  '::127.0.0.1',
  '::ffff:0:7f00:1',
  '64:ff9b::7f00:1',
  '64:ff9b:1::7f00:1',
  '2002:7f00:1::',
  '2001:0:7f00:1::',
  '2001:0:4136:e378:8000:63bf:80ff:fffe',
  '2a00:1450::5efe:7f00:1',
  '::',
]
const METADATA = [
  '169.254.169.254',
  '0xa9fea9fe',
  '2852039166',
  '0251.0376.0251.0376',
  '169.16689662',
  '[::ffff:a9fe:a9fe]',
  '::a9fe:a9fe',
  '64:ff9b::a9fe:a9fe',
  '2002:a9fe:a9fe::',
  '169.254.170.2',
  '168.63.129.16',
  '::ffff:168.63.129.16',
  '100.100.100.200',
  '0x64646464c8',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd00:0ec2:0:0:0:0:0:254',
  'fd20:ce::254',
  'fe80::a9fe:a9fe',
  'metadata.google.internal',
  'METADATA.google.internal.',
  'metadata.goog',
  'instance-data.ec2.internal',
]
const PRIVATE = [
  '10.0.0.1',
  '0x0a000001',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.0.1',
  '3232235521',
  '100.64.0.1',
  '198.18.0.1',
  '203.0.113.1',
  '224.0.0.1',
  '255.255.255.255',
  'fc00::1',
  'fd12:3456::1',
  'fec0::1',
  'ff02::1',
  '2001:db8::1',
  '::ffff:10.0.0.1',
  '64:ff9b::a00:1',
]
/** Names that resolve to forbidden places here; nothing about the names themselves says so. */
const NAMES = [
  'localhost',
  'localhost.',
  'LOCALHOST',
  '%6c%6f%63alhost',
  'inside.example',
  'a.b.c.nip.example',
]
/** No hosts at all, in the hope that one parser sees another host than the other. */
const TRICKS = [
  '1.1.1.1@127.0.0.1',
  '127.0.0.1#@1.1.1.1',
  '127.0.0.1?@1.1.1.1',
  '1.1.1.1 @127.0.0.1',
  '127.0.0.1\\@1.1.1.1',
  '127.0.0.1%00.example.com',
  '127.0.0.1\t',
  '1.1.1.1\r\nhost: x',
  '[::1',
  '::1%lo',
  'fe80::1%eth0',
  '',
]
const ALL = [...LOOPBACK, ...METADATA, ...PRIVATE, ...NAMES, ...TRICKS]

let port: number
let connections = 0
const server = createServer((_request, response) => response.end('reached'))
server.on('connection', () => {
  connections += 1
})
beforeAll(async () => {
  await once(server.listen(0), 'listening')
  port = (server.address() as AddressInfo).port
})
afterAll(() => server.close())

const open: Dial[] = []
beforeEach(() => {
  connections = 0
})
afterEach(async () => {
  for (const dial of open.splice(0)) await dial.close()
  server.closeAllConnections()
})

function dialWith(options: Partial<DialOptions> = {}): Dial {
  const dial = createDial({
    allowCidrs: [],
    metrics: createMetrics('test', false),
    log: pino({ level: 'silent' }),
    resolveHost: async () => ['127.0.0.1'],
    ...options,
  })
  open.push(dial)
  return dial
}

const outcome = async (work: Promise<unknown>) =>
  work.then(
    () => 'reached',
    (error: unknown) =>
      error instanceof DialFailure ? `${error.class}, ${error.sent} sent` : `bug: ${error}`,
  )
const get = (dial: Dial, url: string) =>
  outcome(
    dial.request({
      ...{ method: 'GET', url, headers: {}, signal: new AbortController().signal },
      ...{ connectTimeoutMs: 2_000, maxResponseBytes: 1_000 },
    }),
  )
const connect = (dial: Dial, host: string, to = port) =>
  outcome(
    dial
      .connect({ host, port: to, signal: new AbortController().signal, connectTimeoutMs: 2_000 })
      .then((socket) => socket.destroy()),
  )
const bracketed = (host: string) =>
  host.includes('::') || /^(\w+:){3}/.test(host) ? `[${host.replace(/^\[|\]$/g, '')}]` : host

const REFUSED = 'address_forbidden, never sent'

test('the table is as long as the research asks for', () => {
  expect(new Set(ALL).size).toBeGreaterThanOrEqual(60)
})

test.each(ALL)('"%s" is reached neither by HTTP nor by a plain connection', async (host) => {
  const dial = dialWith()
  expect(await get(dial, `http://${bracketed(host)}:${port}/`)).toBe(REFUSED)
  expect(await connect(dial, host)).toBe(REFUSED)
  expect(connections).toBe(0)
})

test.each([...LOOPBACK, ...METADATA, ...PRIVATE, ...TRICKS])(
  '"%s" is refused when it is saved, if its text says it all',
  (host) => {
    const dial = dialWith()
    expect(dial.refusal(`http://${bracketed(host)}/`)).toBeTypeOf('string')
    expect(dial.refusal({ host, port: 25 })).toBeTypeOf('string')
  },
)

test.each(METADATA)('"%s" stays refused when every network is allowed', async (host) => {
  const dial = dialWith({ allowCidrs: ['0.0.0.0/0', '::/0'], resolveHost: async () => ['169.254.169.254'] })
  expect(await get(dial, `http://${bracketed(host)}/`)).toBe(REFUSED)
  expect(await connect(dial, host, 80)).toBe(REFUSED)
})

test('what is allowed is reached both ways, by address and by name', async () => {
  const dial = dialWith({ allowCidrs: ['127.0.0.0/8'] })
  for (const host of ['127.0.0.1', '0x7f.1', 'Inside.EXAMPLE']) {
    expect(await get(dial, `http://${host}:${port}/`), host).toBe('reached')
    expect(await connect(dial, host), host).toBe('reached')
  }
  expect(dial.refusal({ host: 'smtp.example', port: 587 })).toBeUndefined()
})

test.each([0, -1, 65_536, 1.5, Number.NaN])('port %d is no port', async (bad) => {
  const dial = dialWith({ allowCidrs: ['127.0.0.0/8'] })
  expect(dial.refusal({ host: 'a.example', port: bad })).toMatch(/port/)
  expect(await connect(dial, '127.0.0.1', bad)).toBe(REFUSED)
})

describe('a name that changes its answer', () => {
  test('between two attempts is checked again, by both ways', async () => {
    const answers = [['127.0.0.1'], ['169.254.169.254'], ['127.0.0.1', '10.0.0.1'], []]
    const resolveHost = vi.fn(async () => answers.shift() ?? [])
    const dial = dialWith({ allowCidrs: ['127.0.0.0/8'], resolveHost })
    expect(await connect(dial, 'rebind.example')).toBe('reached')
    expect(await connect(dial, 'rebind.example')).toBe(REFUSED)
    expect(await connect(dial, 'rebind.example')).toBe(REFUSED)
    expect(await connect(dial, 'rebind.example')).toBe('dns, never sent')
    expect(resolveHost).toHaveBeenCalledTimes(4)
  })

  test('while a connection is kept goes on over that connection only, and is checked for the next', async () => {
    let addresses = ['127.0.0.1']
    const resolveHost = vi.fn(async () => addresses)
    const dial = dialWith({ allowCidrs: ['127.0.0.0/8'], resolveHost })
    const url = `http://kept.example:${port}/`
    expect(await get(dial, url)).toBe('reached')
    addresses = ['10.0.0.1']
    // A connection is free again only after a turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve))
    expect(await get(dial, url)).toBe('reached')
    expect([connections, resolveHost.mock.calls.length]).toEqual([1, 1])
    server.closeAllConnections()
    await vi.waitFor(async () => expect(await get(dial, url)).toBe(REFUSED))
    expect(connections).toBe(1)
  })
})

describe('a plain connection', () => {
  test('that nobody takes, that nobody waits for, and that is given up', async () => {
    const dial = dialWith({ allowCidrs: ['127.0.0.0/8'] })
    expect(await connect(dial, '127.0.0.1', 1)).toBe('refused, never sent')
    const hanging = dialWith({ resolveHost: () => new Promise(() => undefined) })
    const to = (signal: AbortSignal, connectTimeoutMs = 5_000) =>
      outcome(hanging.connect({ host: 'hang.example', port: 25, signal, connectTimeoutMs }))
    expect(await to(new AbortController().signal, 20)).toBe('connect_timeout, never sent')
    expect(await to(AbortSignal.timeout(20))).toBe('timeout, never sent')
    expect(await to(AbortSignal.abort(new Error('cancelled')))).toBe('aborted, never sent')
  })

  test('ends with the dial, whether it stands or is being made', async () => {
    const dial = dialWith({ allowCidrs: ['127.0.0.0/8'], resolveHost: () => new Promise(() => undefined) })
    const signal = new AbortController().signal
    const socket = await dial.connect({ host: '127.0.0.1', port, signal, connectTimeoutMs: 2_000 })
    const opening = connect(dial, 'hang.example')
    const closed = once(socket, 'close')
    await dial.close()
    await closed
    expect(await opening).toBe('aborted, never sent')
  })

  test('leaves no listener on its signal', async () => {
    const { signal } = new AbortController()
    const remove = vi.spyOn(signal, 'removeEventListener')
    const add = vi.spyOn(signal, 'addEventListener')
    const dial = dialWith({ allowCidrs: ['127.0.0.0/8'] })
    const socket = await dial.connect({ host: '127.0.0.1', port, signal, connectTimeoutMs: 2_000 })
    expect(remove.mock.calls.length).toBe(add.mock.calls.length)
    socket.destroy()
  })
})

/** Every way to write four octets that the WHATWG URL parser reads. */
const spelled = fc
  .tuple(
    fc.constantFrom(
      [127, 0, 0, 1],
      [10, 1, 2, 3],
      [169, 254, 169, 254],
      [192, 168, 7, 7],
      [100, 100, 100, 200],
    ),
    fc.array(fc.constantFrom('dec', 'hex', 'HEX', 'oct'), { minLength: 4, maxLength: 4 }),
    fc.integer({ min: 1, max: 4 }),
    fc.constantFrom('', '.'),
    fc.constantFrom((text: string) => text, fullWidth, percent),
  )
  .map(([octets, bases, parts, dot, disguise]) => {
    const numbers = octets.slice(0, parts - 1)
    const rest = octets.slice(parts - 1).reduce<number>((sum, octet) => sum * 256 + octet, 0)
    return disguise([...numbers, rest].map((value, at) => written(value, bases[at])).join('.')) + dot
  })

function written(value: number, base: string | undefined): string {
  if (base === 'hex') return `0x${value.toString(16)}`
  if (base === 'HEX') return `0X00${value.toString(16).toUpperCase()}`
  return base === 'oct' ? `0${value.toString(8)}` : String(value)
}
function fullWidth(text: string): string {
  return text.replaceAll(/[0-9a-z]/gi, (char) => String.fromCodePoint((char.codePointAt(0) ?? 0) + 0xfee0))
}
function percent(text: string): string {
  return text.replaceAll(/[0-9]/g, (char) => `%${char.codePointAt(0)?.toString(16)}`)
}

test('no spelling of a forbidden address is taken for another one', () => {
  const dial = dialWith()
  fc.assert(
    fc.property(spelled, (host) => {
      expect(dial.refusal(`http://${host}/`), host).toBeTypeOf('string')
      expect(dial.refusal({ host, port: 25 }), host).toBeTypeOf('string')
    }),
    { numRuns: 2_000 },
  )
})

test('no text at all makes a target throw, or reach this machine', async () => {
  const dial = dialWith()
  const piece = fc.constantFrom(
    '127',
    '0',
    '1',
    '.',
    ':',
    '[',
    ']',
    '@',
    '#',
    '/',
    '\\',
    '%',
    '0x',
    'ffff',
    '::',
    'localhost',
    ' ',
  )
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.array(piece, { maxLength: 10 }).map((all) => all.join('')),
  )
  await fc.assert(
    fc.asyncProperty(text, async (host) => {
      const refused = dial.refusal({ host, port })
      expect(refused === undefined || typeof refused === 'string').toBe(true)
      expect(await connect(dial, host)).toMatch(/^(address_forbidden|dns), never sent$/)
    }),
    { numRuns: 300 },
  )
  expect(connections).toBe(0)
})
