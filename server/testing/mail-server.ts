import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import { selfSigned } from './self-signed.ts'

export interface ReceivedMail {
  readonly from: string
  readonly to: readonly string[]
  readonly raw: Buffer
  readonly secure: boolean
  /** User of the login; undefined without one. */
  readonly user: string | undefined
  /** By which name the client greeted. */
  readonly client: string
}

export type MailHooks = Pick<SMTPServerOptions, 'onConnect' | 'onAuth' | 'onMailFrom' | 'onRcptTo' | 'onData'>

export interface MailServer {
  readonly port: number
  /** What was received whole and answered with success. */
  readonly mails: ReceivedMail[]
  /** Connections since the start. */
  readonly connections: number
  /** Cuts every connection, as a crash would. */
  drop(): void
  close(): Promise<void>
}

/** The certificate of the test servers, for `mail.example`. */
export const MAIL_HOST = 'mail.example'
const { key, cert } = selfSigned(MAIL_HOST)
export const MAIL_CERTIFICATE = cert
export const MAIL_KEY = key

/** An answer of the server in an SMTP hook: `new Error` with a code. */
export const refusal = (responseCode: number, message: string): Error =>
  Object.assign(new Error(message), { responseCode })

/** A real SMTP server with STARTTLS (`secure`: TLS from the start), user `ada` and password `correct horse battery`. */
export async function startMailServer(
  hooks: MailHooks = {},
  options: SMTPServerOptions = {},
): Promise<MailServer> {
  const mails: ReceivedMail[] = []
  const sockets = new Set<Socket>()
  let connections = 0
  const server = new SMTPServer({
    key,
    cert,
    authOptional: true,
    disableReverseLookup: true,
    closeTimeout: 1,
    logger: false,
    onAuth: ({ username, password }, _session, done) =>
      username === 'ada' && password === 'correct horse battery'
        ? done(null, { user: username })
        : done(refusal(535, 'wrong user or password')),
    onData: (stream, session, done) => {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        if (stream.sizeExceeded) return done(refusal(552, 'message too large'))
        const { mailFrom, rcptTo } = session.envelope
        mails.push({
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          raw: Buffer.concat(chunks),
          secure: session.secure,
          user: session.user === undefined ? undefined : String(session.user),
          client: session.hostNameAppearsAs,
        })
        done(null, 'queued as 1')
      })
    },
    ...options,
    ...hooks,
  })
  // Clients that give up are what is tested.
  server.on('error', () => undefined)
  server.server.on('connection', (socket) => {
    connections += 1
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  const listening = server.listen(0, '127.0.0.1')
  await once(listening, 'listening')
  const drop = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    port: (listening.address() as AddressInfo).port,
    mails,
    get connections() {
      return connections
    },
    drop,
    close: async () => {
      drop()
      await new Promise<void>((resolve) => server.close(resolve))
    },
  }
}
