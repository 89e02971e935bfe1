import { createVerify, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { simpleParser } from 'mailparser'
import type { SMTPServerOptions } from 'smtp-server'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type CalledConnector, calledConnector } from '../../../../testing/called-connector.ts'
import {
  MAIL_CERTIFICATE,
  MAIL_HOST,
  MAIL_KEY,
  type MailHooks,
  type MailServer,
  refusal,
  startMailServer,
} from '../../../../testing/mail-server.ts'
import { CallFailure } from '../../../resilience/failure.ts'
import { checkConnector } from '../connectors.ts'

const PASSWORD = 'correct horse battery'
const LOGIN = { username: 'ada', password: PASSWORD }
const MAIL = { to: ['bob@example.com'], subject: 'Hello', text: 'Hi Bob.' }

const cleanUps: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

function connectorTo(
  port: number,
  settings: Record<string, unknown> = {},
  secrets: Record<string, string> = {},
  allowCidrs = ['127.0.0.0/8'],
): CalledConnector {
  const connector = calledConnector({
    kind: 'smtp',
    settings: {
      host: MAIL_HOST,
      port,
      tls: 'starttls',
      ca_certificate: MAIL_CERTIFICATE,
      from: 'Shop <shop@shop.example>',
      ...settings,
    },
    secrets,
    allowCidrs,
    resolveHost: async () => ['127.0.0.1'],
  })
  cleanUps.push(connector.close)
  return connector
}

async function serverWith(hooks: MailHooks = {}, options: SMTPServerOptions = {}): Promise<MailServer> {
  const server = await startMailServer(hooks, options)
  cleanUps.push(server.close)
  return server
}

/** A server that says what `talk` makes it say, for what no well-made one does. */
async function rawServer(talk: (socket: Socket, line: string) => void, greeting = '220 raw\r\n') {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    if (greeting !== '') socket.write(greeting)
    socket.on('data', (chunk) => {
      for (const line of chunk.toString('latin1').split('\r\n')) if (line !== '') talk(socket, line)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanUps.push(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return { port: (server.address() as AddressInfo).port, sockets }
}

/** Answers every command with success until the message, then as `atData` says. */
const polite = (atData: (socket: Socket, line: string) => void) => {
  let inData = false
  return (socket: Socket, line: string) => {
    if (inData) return atData(socket, line)
    if (line === 'DATA') {
      inData = true
      socket.write('354 go on\r\n')
    } else socket.write('250 ok\r\n')
  }
}

describe('a message that is taken', () => {
  test.each([
    ['starttls', {}, true],
    ['implicit', { secure: true }, true],
    ['none', {}, false],
  ] as const)('over %s', async (tls, options, secure) => {
    const server = await serverWith({}, options)
    const login = tls === 'none' ? {} : LOGIN
    const { call } = connectorTo(server.port, { tls }, login)
    const { output, httpStatus } = await call('send', MAIL)
    expect(httpStatus).toBeNull()
    expect(output).toEqual({
      message_id: expect.stringMatching(/^<[0-9a-f]{40}@shop\.example>$/),
      accepted: ['bob@example.com'],
      rejected: [],
      response: '250 queued as 1',
    })
    const [mail] = server.mails
    expect(mail).toMatchObject({
      from: 'shop@shop.example',
      to: ['bob@example.com'],
      secure,
      client: 'shop.example',
      user: tls === 'none' ? undefined : 'ada',
    })
  })

  test('arrives with everything that was given, and without the hidden recipients', async () => {
    const server = await serverWith()
    const { call } = connectorTo(server.port)
    const { output } = await call('send', {
      from: 'Käse & Co <kaese@shop.example>',
      to: ['Bob <bob@example.com>', 'eve@EXAMPLE.com'],
      cc: ['carl@bücher.example'],
      bcc: ['dora@example.com', 'bob@example.com'],
      reply_to: 'help@shop.example',
      subject: 'Grüße ☕',
      text: 'Hi\n.\n..dots',
      html: '<p>Hi ☕</p>',
      headers: { 'X-Order': '42', 'List-Unsubscribe': '<https://shop.example/u?x=1>' },
      attachments: [
        { filename: 'Rechnung ü.pdf', content_base64: Buffer.from('%PDF').toString('base64') },
        { filename: 'a.bin', content_base64: '', content_type: 'application/x-own' },
      ],
    })
    const [mail] = server.mails
    expect(mail?.to).toEqual([
      'bob@example.com',
      'eve@example.com',
      'carl@bücher.example',
      'dora@example.com',
    ])
    const parsed = await simpleParser(mail?.raw ?? '')
    expect(parsed).toMatchObject({
      subject: 'Grüße ☕',
      messageId: (output as { message_id: string }).message_id,
      html: '<p>Hi ☕</p>',
      date: new Date(Date.UTC(2026, 0, 1)),
    })
    expect(parsed.text?.trim()).toBe('Hi\n.\n..dots')
    expect(parsed.from?.value).toEqual([{ name: 'Käse & Co', address: 'kaese@shop.example' }])
    expect(parsed.replyTo?.value[0]?.address).toBe('help@shop.example')
    expect(parsed.headers.get('x-order')).toBe('42')
    expect(mail?.raw.toString()).toContain('List-Unsubscribe: <https://shop.example/u?x=1>')
    expect(mail?.raw.toString().toLowerCase()).not.toMatch(/bcc|dora|orchestrator/)
    expect(
      parsed.attachments.map(({ filename, contentType, size }) => [filename, contentType, size]),
    ).toEqual([
      ['Rechnung ü.pdf', 'application/pdf', 4],
      ['a.bin', 'application/x-own', 0],
    ])
  })

  test('for some recipients only, says for whom', async () => {
    const server = await serverWith({
      onRcptTo: ({ address }, _session, done) =>
        done(address.startsWith('bob') ? refusal(550, `no such user ${address}`) : null),
    })
    const { call } = connectorTo(server.port)
    expect(
      (await call('send', { ...MAIL, to: ['ada@example.com', 'bob@example.com'] })).output,
    ).toMatchObject({
      accepted: ['ada@example.com'],
      rejected: [{ address: 'bob@example.com', response: '550 no such user bob@example.com' }],
    })
    expect(server.mails[0]?.to).toEqual(['ada@example.com'])
  })

  test('has the same id on every attempt, another one for another key or other recipients', async () => {
    const server = await serverWith()
    const { call } = connectorTo(server.port)
    const id = async (idempotencyKey: string, to = MAIL.to) =>
      ((await call('send', { ...MAIL, to }, { idempotencyKey })).output as { message_id: string }).message_id
    const first = await id('a')
    expect(await id('a')).toBe(first)
    expect(new Set([first, await id('b'), await id('a', ['eve@example.com'])]).size).toBe(3)
    expect(server.connections).toBe(4)
  })
})

test('DKIM: the signature verifies by the public key, over the headers that matter', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const server = await serverWith()
  const dkim = { domain: 'shop.example', selector: 'orch1' }
  const pem = privateKey.export({ format: 'pem', type: 'pkcs1' }).toString()
  const { call } = connectorTo(server.port, { dkim }, { dkim_private_key: pem })
  await call('send', { ...MAIL, subject: 'Grüße' })
  const raw = server.mails[0]?.raw.toString('latin1') ?? ''
  const end = raw.indexOf('\r\n\r\n')
  const fields = raw.slice(0, end).split(/\r\n(?![ \t])/)
  const relaxed = (field: string) => {
    const colon = field.indexOf(':')
    const value = field
      .slice(colon + 1)
      .replaceAll(/\r\n/g, '')
      .replaceAll(/[ \t]+/g, ' ')
      .trim()
    return `${field.slice(0, colon).trim().toLowerCase()}:${value}`
  }
  const [signature = ''] = fields.filter((field) => /^dkim-signature:/i.test(field))
  const tags = Object.fromEntries(
    relaxed(signature)
      .slice('dkim-signature:'.length)
      .split(';')
      .map((tag) => [tag.slice(0, tag.indexOf('=')).trim(), tag.slice(tag.indexOf('=') + 1).trim()]),
  )
  expect(tags).toMatchObject({ d: 'shop.example', s: 'orch1', a: 'rsa-sha256', c: 'relaxed/relaxed' })
  const signed = tags.h?.split(':') ?? []
  for (const name of ['from', 'to', 'subject', 'date', 'message-id']) expect(signed).toContain(name)
  const lines = signed.map((name) =>
    relaxed(fields.find((field) => field.toLowerCase().startsWith(`${name}:`)) ?? ''),
  )
  const unsigned = relaxed(signature).replace(/ b=.*$/, ' b=')
  const verified = createVerify('RSA-SHA256')
    .update(`${lines.join('\r\n')}\r\n${unsigned}`, 'latin1')
    .verify(publicKey, (tags.b ?? '').replaceAll(' ', ''), 'base64')
  expect(verified).toBe(true)
})

test.each([
  '',
  'no key at all',
  generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
])('a DKIM key that cannot sign is refused before anyone is dialled: %#', async (dkim_private_key) => {
  const server = await serverWith()
  const { call, health } = connectorTo(
    server.port,
    { dkim: { domain: 'shop.example', selector: 'a' } },
    { dkim_private_key },
  )
  await expect(call('send', MAIL)).rejects.toMatchObject({ code: 'secret_unresolved' })
  expect(await health()).toMatchObject({ healthy: false })
  expect(server.connections).toBe(0)
})

describe('what fails', () => {
  const answering = (command: 'connect' | 'MAIL' | 'RCPT' | 'DATA', error: Error): MailHooks => ({
    ...(command === 'connect' && { onConnect: (_session, done) => done(error) }),
    ...(command === 'MAIL' && { onMailFrom: (_address, _session, done) => done(error) }),
    ...(command === 'RCPT' && { onRcptTo: (_address, _session, done) => done(error) }),
    ...(command === 'DATA' && {
      onData: (stream, _session, done) => stream.on('end', () => done(error)).resume(),
    }),
  })

  test.each([
    ['connect', 421, 'never_sent', 'smtp_4xx'],
    ['connect', 554, 'permanent', 'smtp_5xx'],
    ['MAIL', 451, 'safe_to_repeat', 'smtp_4xx'],
    ['MAIL', 421, 'safe_to_repeat', 'smtp_4xx'],
    ['MAIL', 553, 'permanent', 'smtp_5xx'],
    ['RCPT', 451, 'safe_to_repeat', 'smtp_4xx'],
    ['RCPT', 421, 'safe_to_repeat', 'smtp_4xx'],
    ['RCPT', 550, 'permanent', 'smtp_5xx'],
    ['DATA', 451, 'safe_to_repeat', 'smtp_4xx'],
    ['DATA', 421, 'safe_to_repeat', 'smtp_4xx'],
    ['DATA', 552, 'permanent', 'smtp_5xx'],
  ] as const)('%s answered with %i: %s', async (command, code, failureClass, kind) => {
    const server = await serverWith(answering(command, refusal(code, `not now, ${PASSWORD}`)))
    const failure = await connectorTo(server.port, {}, LOGIN).failing('send', MAIL)
    expect(failure).toMatchObject({ class: failureClass, kind })
    expect(failure.message).toContain(String(code))
    expect(failure.message).toContain('[secret]')
    expect(JSON.stringify([failure, failure.message, failure.cause])).not.toContain(PASSWORD)
    expect(server.connections).toBe(1)
  })

  test('a greylisted recipient beside a refused one makes the message worth repeating', async () => {
    const server = await serverWith({
      onRcptTo: ({ address }, _session, done) => done(refusal(address.startsWith('a') ? 451 : 550, 'no')),
    })
    const { failing } = connectorTo(server.port)
    const to = ['ada@example.com', 'bob@example.com']
    expect(await failing('send', { ...MAIL, to })).toMatchObject({
      class: 'safe_to_repeat',
      kind: 'smtp_4xx',
    })
  })

  test('a wrong password is final and not shown', async () => {
    const server = await serverWith()
    const connector = connectorTo(server.port, {}, { username: 'ada', password: 'wrong horse battery' })
    const failure = await connector.failing('send', MAIL)
    expect(failure).toMatchObject({ class: 'permanent', kind: 'auth_failed' })
    expect(JSON.stringify([failure, failure.message])).not.toContain('wrong horse')
    expect(await connector.health()).toMatchObject({ healthy: false, details: { cause: 'auth_failed' } })
  })

  test('a message larger than the server takes is final', async () => {
    const server = await serverWith({}, { size: 1_000 })
    const { failing } = connectorTo(server.port)
    expect(await failing('send', { ...MAIL, text: 'x'.repeat(2_000) })).toMatchObject({
      class: 'permanent',
      kind: 'message_too_large',
    })
  })

  test('a certificate that is not trusted, or of another host, ends it before the login', async () => {
    const users: unknown[] = []
    const server = await serverWith({
      onAuth: ({ username }, _session, done) => {
        users.push(username)
        done(null, { user: username })
      },
    })
    // Not smtp-server: on a handshake that its client gives up, it asks Node something that ends the process.
    const own = createTlsServer({ key: MAIL_KEY, cert: MAIL_CERTIFICATE }).listen(0, '127.0.0.1')
    own.on('tlsClientError', () => undefined)
    await once(own, 'listening')
    cleanUps.push(() => new Promise((resolve) => own.close(resolve)))
    for (const [port, settings] of [
      [server.port, { ca_certificate: undefined }],
      [server.port, { host: 'other.example' }],
      [(own.address() as AddressInfo).port, { host: 'other.example', tls: 'implicit' }],
    ] as const)
      expect(await connectorTo(port, settings, LOGIN).failing('send', MAIL)).toMatchObject({
        class: 'never_sent',
        kind: 'tls',
      })
    expect(users).toEqual([])
  })

  test('a server without STARTTLS gets neither password nor message in clear', async () => {
    const server = await serverWith(
      {},
      { hideSTARTTLS: true, disabledCommands: ['STARTTLS'], allowInsecureAuth: true },
    )
    const failure = await connectorTo(server.port, {}, LOGIN).failing('send', MAIL)
    expect(failure.class).toBe('permanent')
    expect(server.mails).toEqual([])
  })

  test('nobody listens', async () => {
    const server = await startMailServer()
    await server.close()
    expect(await connectorTo(server.port).failing('send', MAIL)).toMatchObject({
      class: 'never_sent',
      kind: 'refused',
    })
  })

  test('an address that may not be dialled', async () => {
    const server = await serverWith()
    const failure = await connectorTo(server.port, {}, {}, []).failing('send', MAIL)
    expect(failure).toMatchObject({ class: 'permanent', kind: 'address_forbidden' })
    expect(server.connections).toBe(0)
  })
})

describe('connections that end', () => {
  const plain = { tls: 'none' }

  test('before the greeting: nothing was sent', async () => {
    const { port } = await rawServer(() => undefined, '')
    const connector = connectorTo(port, plain)
    const stopped = new AbortController()
    const failing = connector.failing('send', MAIL, { signal: stopped.signal })
    stopped.abort(new DOMException('too slow', 'TimeoutError'))
    expect(await failing).toMatchObject({ class: 'never_sent', kind: 'timeout' })
  })

  test('a server that greets with something else than SMTP', async () => {
    const { port } = await rawServer(() => undefined, 'HTTP/1.1 400 Bad Request\r\n\r\n')
    expect(await connectorTo(port, plain).failing('send', MAIL)).toMatchObject({
      class: 'never_sent',
      kind: 'protocol',
    })
  })

  test.each([
    ['EHLO', 'never_sent'],
    ['MAIL', 'safe_to_repeat'],
    ['RCPT', 'safe_to_repeat'],
    ['DATA', 'safe_to_repeat'],
  ])('at %s: %s', async (command, failureClass) => {
    const { port } = await rawServer((socket, line) => {
      if (line.startsWith(command)) socket.destroy()
      else socket.write('250 ok\r\n')
    })
    expect(await connectorTo(port, plain).failing('send', MAIL)).toMatchObject({
      class: failureClass,
      kind: 'reset',
    })
  })

  test('in the middle of a long message: a server drops what it has of it', async () => {
    const { port } = await rawServer(polite((socket) => socket.destroy()))
    const text = `${'x'.repeat(70)}\n`.repeat(14_000)
    const content = { filename: 'a', content_base64: Buffer.alloc(6 * 1024 * 1024).toString('base64') }
    expect(
      await connectorTo(port, plain).failing('send', { ...MAIL, text, attachments: [content] }),
    ).toMatchObject({
      class: 'safe_to_repeat',
      kind: 'reset',
    })
  })

  test('after the dot that ends it: nobody knows whether it was taken', async () => {
    const server = await serverWith({
      onData: (stream) => void stream.on('end', () => server.drop()).resume(),
    })
    expect(await connectorTo(server.port).failing('send', MAIL)).toMatchObject({
      class: 'outcome_unknown',
      kind: 'reset',
    })
  })

  test.each([
    ['TimeoutError', 'timeout'],
    ['AbortError', 'aborted'],
  ])('by us (%s) after the dot: unknown, and the socket is gone', async (name, kind) => {
    let sawDot: () => void = () => undefined
    const dot = new Promise<void>((resolve) => {
      sawDot = resolve
    })
    const { port, sockets } = await rawServer(
      polite((_socket, line) => {
        if (line === '.') sawDot()
      }),
    )
    const stopped = new AbortController()
    const failing = connectorTo(port, plain).failing('send', MAIL, { signal: stopped.signal })
    await dot
    const closed = Promise.all([...sockets].map((socket) => once(socket, 'close')))
    stopped.abort(new DOMException('stop', name))
    expect(await failing).toMatchObject({ class: 'outcome_unknown', kind })
    await closed
  })

  test('a server that never says goodbye does not hold the answer back', async () => {
    let inData = false
    const { port, sockets } = await rawServer((socket, line) => {
      if (line === '.') inData = false
      if (line === 'QUIT' || inData) return
      if (line === 'DATA') inData = true
      socket.write(line === 'DATA' ? '354 go on\r\n' : '250 ok\r\n')
    })
    expect((await connectorTo(port, plain).call('send', MAIL)).output).toMatchObject({ response: '250 ok' })
    await vi.waitFor(() => expect([...sockets].every((socket) => socket.destroyed)).toBe(true), 10_000)
  })
})

describe('what is not sent at all', () => {
  const crlf = 'bob@example.com>\r\nRCPT TO:<eve@example.com'
  test.each([
    [{ to: [crlf] }, '/to/0'],
    [{ to: ['bob@example.com\n'] }, '/to/0'],
    [{ to: ['bob@example.com, eve@example.com'] }, '/to/0'],
    [{ to: ['"a b"@example.com'] }, '/to/0'],
    [{ to: ['bob'] }, '/to/0'],
    [{ to: ['bob@'] }, '/to/0'],
    [{ to: ['bob@exa mple.com'] }, '/to/0'],
    [{ to: ['eve@real.example <bob@example.com>'] }, '/to/0'],
    [{ to: ['Bob\u202e <bob@example.com>'] }, '/to/0'],
    [{ to: [`${'x'.repeat(65)}@example.com`] }, '/to/0'],
    [{ to: [], cc: [] }, '/to'],
    [
      {
        to: Array.from({ length: 60 }, (_, at) => `a${at}@example.com`),
        cc: Array.from({ length: 60 }, (_, at) => `b${at}@example.com`),
      },
      '',
    ],
    [{ from: 'a@b.example\r\nX: y' }, '/from'],
    [{ reply_to: 'nobody' }, '/reply_to'],
    [{ subject: 'Hello\r\nBcc: eve@example.com' }, '/subject'],
    [{ subject: 'Hello\u2028there' }, '/subject'],
    [{ headers: { 'X-A': 'b\r\nBcc: eve@example.com' } }, '/headers/X-A'],
    [{ headers: { Bcc: 'eve@example.com' } }, '/headers'],
    [{ headers: { 'X-A\r\nBcc': 'eve@example.com' } }, '/headers'],
    [{ headers: { 'Message-ID': '<a@b>' } }, '/headers'],
    [{ text: undefined }, '/text'],
    [{ text: 'a\ud800' }, '/text'],
    [{ attachments: [{ filename: '../a', content_base64: '' }] }, '/attachments/0/filename'],
    [{ attachments: [{ filename: 'a\r\nb', content_base64: '' }] }, '/attachments/0/filename'],
    [{ attachments: [{ filename: 'a', content_base64: 'a b' }] }, '/attachments/0/content_base64'],
    [
      { attachments: [{ filename: 'a', content_base64: '', content_type: 'a/b\r\nX: y' }] },
      '/attachments/0/content_type',
    ],
    [
      { attachments: [{ filename: 'a', content_base64: '', content_type: 'message/rfc822' }] },
      '/attachments/0/content_type',
    ],
    [{ attachments: [{ filename: 'a', path: '/etc/passwd' }] }, '/attachments/0/path'],
    [
      { attachments: [{ filename: 'a', content_base64: Buffer.alloc(8 * 1024 * 1024).toString('base64') }] },
      '/attachments',
    ],
  ] as [object, string][])('%#', (change, path) => {
    const operation = connectorTo(1).connector.operations.get('send')
    const input = JSON.parse(JSON.stringify({ ...MAIL, ...change }))
    const problem = (() => {
      try {
        operation?.validateInput(input, '')
      } catch (error) {
        return error as { extra: { details: { path: string }[] } }
      }
      return undefined
    })()
    expect(problem?.extra.details.map((detail) => detail.path)).toContain(path)
  })

  test('what was not checked before is checked again where it is written', async () => {
    const server = await serverWith()
    const { call } = connectorTo(server.port, { from: undefined })
    await expect(call('send', MAIL)).rejects.toMatchObject({ code: 'input_invalid' })
    expect(server.connections).toBe(0)
  })
})

test('a dry run shows the message, and talks to nobody', async () => {
  const server = await serverWith()
  const { dryRun } = connectorTo(server.port, {}, LOGIN)
  expect(await dryRun('send', { ...MAIL, bcc: ['eve@example.com'] })).toMatchObject({
    server: { host: MAIL_HOST, port: server.port, tls: 'starttls', login: true },
    envelope: { from: 'shop@shop.example', to: ['bob@example.com', 'eve@example.com'] },
    message: expect.stringMatching(/Subject: Hello\r\n[\s\S]*Hi Bob\./),
  })
  expect(server.connections).toBe(0)
})

test('health: greets, encrypts, logs in, and sends nothing', async () => {
  const server = await serverWith()
  expect(await connectorTo(server.port, {}, LOGIN).health()).toEqual({
    healthy: true,
    message: 'The mail server takes the login.',
    details: { tls: 'TLSv1.3', login: true },
  })
  expect(await connectorTo(server.port, { tls: 'none' }).health()).toMatchObject({
    healthy: true,
    details: { tls: 'none', login: false },
  })
  expect(server.mails).toEqual([])
  await server.close()
  expect(await connectorTo(server.port).health()).toMatchObject({
    healthy: false,
    details: { cause: 'refused' },
  })
})

test.each([
  [{}, { username: 'u' }, '/secrets/password'],
  [{}, { password: 'u' }, '/secrets/username'],
  [{ tls: 'none' }, LOGIN, '/settings/tls'],
  [{ dkim: { domain: 'a.example', selector: 's' } }, {}, '/secrets/dkim_private_key'],
  [{}, { dkim_private_key: 'k' }, '/secrets/dkim_private_key'],
  [{ from: 'shop' }, {}, '/settings/from'],
  [{ ca_certificate: '-----BEGIN CERTIFICATE-----' }, {}, '/settings/ca_certificate'],
  [{ client_name: 'a\r\nMAIL' }, {}, '/settings/client_name'],
])('settings %j with %j have a fault at %s', (settings, secrets, path) => {
  const refs = Object.fromEntries(Object.keys(secrets).map((name) => [name, 'ref']))
  const config = { kind: 'smtp', settings: { host: MAIL_HOST, tls: 'starttls', ...settings }, secrets: refs }
  expect(checkConnector('sample', config).map((fault) => fault.path)).toContain(path)
})

test('its failures are the pipeline’s', async () => {
  expect(await connectorTo(1).failing('send', MAIL)).toBeInstanceOf(CallFailure)
})
