import { Readable } from 'node:stream'
import { createSecureContext, getCACertificates, type SecureContext, TLSSocket } from 'node:tls'
import type SmtpConnection from 'nodemailer/lib/smtp-connection'
import type { SMTPConnectionSendInfo } from 'nodemailer/lib/smtp-connection'
import type { HealthContext } from '../../define-connector.ts'
import { domainOf, parseMailbox } from './address.ts'
import type { Mail } from './message.ts'
import { type SmtpSettings, serverOf } from './settings.ts'

/** Only the attempt's signal ends a wait: nodemailer's own timers would end it a second time. */
const NEVER_MS = 24 * 3_600_000
const MAX_RESPONSE_BYTES = 64 * 1024
/** How long the goodbye may take that nobody waits for. */
const QUIT_MS = 2_000
const CHUNK_BYTES = 16 * 1024

/**
 * How far a session has come, for what its end means: nothing of the message is out (`greeting`), its sender or
 * recipients (`envelope`), parts of its text (`text`), or perhaps the dot that ends it (`ended`), after which the
 * server may have taken it although nobody hears so.
 */
export type Reached = 'greeting' | 'envelope' | 'text' | 'ended'

export interface Session {
  readonly connection: SmtpConnection
  readonly reached: Reached
  /** TLS version; undefined in clear. */
  readonly tlsVersion: string | undefined
  /** One per session. Rejects with nodemailer's error, or the reason of the signal. */
  send(mail: Mail): Promise<SMTPConnectionSendInfo>
}

/**
 * Opens a session (connection, greeting, TLS, login), runs `use` in it and says goodbye. `failed` makes the error
 * that is thrown for whatever ends it; a `DialFailure` before there was a connection is thrown as it is.
 */
export async function inSession<Result>(
  settings: SmtpSettings,
  context: HealthContext,
  use: (session: Session) => Promise<Result>,
  failed: (error: unknown, reached: Reached, connection: SmtpConnection) => Error,
): Promise<Result> {
  const { default: Connection } = await import('nodemailer/lib/smtp-connection')
  const { signal, connectTimeoutMs, secrets } = context
  const server = serverOf(settings)
  const socket = await context.dial.connect({ ...server, signal, connectTimeoutMs })
  // Its errors reach nodemailer as well; without a listener of ours, one after the end would end the process.
  socket.on('error', () => undefined)
  const connection = new Connection({
    ...server,
    connection: socket,
    secure: settings.tls === 'implicit',
    requireTLS: settings.tls === 'starttls',
    ignoreTLS: settings.tls === 'none',
    name: clientName(settings),
    tls: { ...trustOf(settings), minVersion: 'TLSv1.2', rejectUnauthorized: true },
    connectionTimeout: NEVER_MS,
    greetingTimeout: NEVER_MS,
    socketTimeout: NEVER_MS,
    maxResponseSize: MAX_RESPONSE_BYTES,
    logger: false,
  })
  let reached: Reached = 'greeting'
  let onAbort: () => void = () => undefined
  const ended = new Promise<never>((_, reject) => {
    connection.on('error', reject)
    // The error that explains the end may be told right after it.
    connection.on('end', () => setImmediate(reject, new Error('The session has ended.')))
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  // Whoever waits has it from the race; without one it is nobody's.
  ended.catch(() => undefined)
  const orEnd = <Value>(start: (done: (error: unknown, value?: Value) => void) => void): Promise<Value> =>
    Promise.race([
      ended,
      new Promise<Value>((resolve, reject) => {
        start((error, value) => (error ? reject(error) : resolve(value as Value)))
      }),
    ])

  try {
    if (signal.aborted) throw signal.reason
    await orEnd((done) => connection.connect(done))
    const [user, pass] = [secrets.username?.reveal(), secrets.password?.reveal()]
    if (user !== undefined && pass !== undefined)
      await orEnd((done) => connection.login({ user, pass }, done))
    const result = await use({
      connection,
      get reached() {
        return reached
      },
      get tlsVersion() {
        const { _socket: current } = connection
        // Node must not be asked about a socket that is gone: in some states that ends the process.
        return current instanceof TLSSocket && !current.destroyed
          ? (current.getProtocol() ?? undefined)
          : undefined
      },
      send: (mail) =>
        orEnd((done) => {
          reached = 'envelope'
          const text = Readable.from(
            chunksOf(mail.bytes, (last) => {
              reached = last ? 'ended' : 'text'
            }),
            { objectMode: false, highWaterMark: CHUNK_BYTES },
          )
          connection.send({ from: mail.from, to: [...mail.recipients], size: mail.bytes.length }, text, done)
        }),
    })
    connection.quit()
    socket.setTimeout(QUIT_MS, () => socket.destroy())
    return result
  } catch (error) {
    connection.close()
    socket.destroy()
    throw failed(error, reached, connection)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** The message in pieces, so that it is known whether the last one has been handed over, and the dot after it. */
function* chunksOf(bytes: Buffer, onChunk: (last: boolean) => void): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += CHUNK_BYTES) {
    onChunk(start + CHUNK_BYTES >= bytes.length)
    yield bytes.subarray(start, start + CHUNK_BYTES)
  }
}

/** Reading some hundred and fifty certificates takes ms, so once per compiled connector and not per message. */
const contexts = new WeakMap<SmtpSettings, SecureContext>()

/** The usual authorities, which Node keeps read, or with them the one of the settings. */
function trustOf(settings: SmtpSettings): { readonly secureContext?: SecureContext } {
  const { ca_certificate: own } = settings
  if (own === undefined) return {}
  const context =
    contexts.get(settings) ??
    createSecureContext({ minVersion: 'TLSv1.2', ca: [...getCACertificates('default'), own] })
  contexts.set(settings, context)
  return { secureContext: context }
}

/** Not the name of the machine, which is nobody's business. */
function clientName({ client_name: name, from }: SmtpSettings): string {
  const sender = from === undefined ? undefined : parseMailbox(from)
  return name ?? (sender ? domainOf(sender) : 'orchestrator.invalid')
}
