/** What the processes that send load share: one prepared HTTP/1.1 request, and reading only what must be read of the answers. */
import { connect, type Socket } from 'node:net'

export interface RawRequest {
  readonly port: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** A header that is different on every request: its value ends in a number. Absent = none. */
  readonly uniqueHeader?: string
}

/** Whole requests, each a different one. */
export interface RawRequests {
  readonly port: number
  /** The bytes of the next one. */
  next(): Buffer
}

const END_OF_HEAD = Buffer.from('\r\n\r\n')
const CONTENT_LENGTH = Buffer.from('\r\ncontent-length: ')
const NOTHING: Buffer = Buffer.alloc(0)
const READ_BYTES = 16_384
const DIGITS = 12

/** Unique over the processes that send, and over runs: an idempotency key must be new. */
const RUN = `${process.pid}-${Date.now().toString(36)}-`
let sent = 0

/** A connection that sends the request over and over, one at a time. */
export interface RawConnection {
  readonly socket: Socket
  send(): void
}

/** Connects; `answered` is called with the status of each answer. Both ends keep the connection alive. */
export function openConnection(
  request: RawRequest | RawRequests,
  on: {
    ready(connection: RawConnection): void
    answered(status: string): void
    failed(error: Error): void
    closed(): void
  },
): void {
  const next = 'next' in request ? request.next : repeated(request)
  let begin = NOTHING
  // One buffer for all that a connection reads: a stream of new ones would be half of the work here.
  const buffer = Buffer.alloc(READ_BYTES)
  const take = (size: number): boolean => {
    const chunk = buffer.subarray(0, size)
    const answer = begin.length === 0 ? chunk : Buffer.concat([begin, chunk])
    const length = lengthOf(answer)
    if (length === undefined || answer.length < length) {
      begin = Buffer.from(answer)
      return true
    }
    begin = NOTHING
    on.answered(answer.toString('latin1', 9, 12))
    return true
  }
  const socket = connect({
    host: '127.0.0.1',
    port: request.port,
    noDelay: true,
    onread: { buffer, callback: take },
  })
  const send = (): void => void socket.write(next())
  socket.on('connect', () => on.ready({ socket, send }))
  socket.on('error', on.failed)
  socket.on('close', on.closed)
}

function repeated(request: RawRequest): () => Buffer {
  const { bytes, numberAt } = prepare(request)
  return () => {
    sent += 1
    if (numberAt !== undefined) bytes.write(String(sent).padStart(DIGITS, '0'), numberAt, 'latin1')
    return bytes
  }
}

function prepare({ port, path, headers, body, uniqueHeader }: RawRequest): {
  bytes: Buffer
  numberAt: number | undefined
} {
  const all = {
    host: `127.0.0.1:${port}`,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...headers,
    ...(uniqueHeader !== undefined && { [uniqueHeader]: `${RUN}${'0'.repeat(DIGITS)}` }),
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  const bytes = Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`)
  const at = bytes.indexOf(RUN)
  return { bytes, numberAt: at < 0 ? undefined : at + RUN.length }
}

/** Length of the answer; undefined while its head is incomplete. All servers answer with a content-length. */
function lengthOf(answer: Buffer): number | undefined {
  const end = answer.indexOf(END_OF_HEAD)
  if (end < 0) return undefined
  const at = answer.toString('latin1', 0, end).toLowerCase().indexOf(CONTENT_LENGTH.toString('latin1'))
  if (at < 0) throw new Error(`an answer without content-length: ${answer.toString('latin1', 0, end)}`)
  const from = at + CONTENT_LENGTH.length
  return end + END_OF_HEAD.length + Number.parseInt(answer.toString('latin1', from, from + 10), 10)
}
