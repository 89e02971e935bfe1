/**
 * A process that sends one prepared HTTP/1.1 request over and over on each of its connections and reads only
 * what it must of the answers: a general client would cost as much as the server that is measured.
 */
import { connect } from 'node:net'
import { percentile, sorted } from '../statistics.ts'

export interface HttpLoad {
  readonly port: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly connections: number
  readonly warmUpMs: number
  readonly measureMs: number
}

export interface HttpLoadReport {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Answers by status, warm-up included. */
  readonly statuses: Readonly<Record<string, number>>
  readonly failure?: string
}

const END_OF_HEAD = Buffer.from('\r\n\r\n')
const CONTENT_LENGTH = Buffer.from('\r\ncontent-length: ')
const NOTHING: Buffer = Buffer.alloc(0)
const READ_BYTES = 16_384

async function load(options: HttpLoad): Promise<HttpLoadReport> {
  const request = requestOf(options)
  const from = performance.now() + options.warmUpMs
  const until = from + options.measureMs
  const latencies: number[] = []
  const statuses: Record<string, number> = {}
  let failure: string | undefined

  const connection = (): Promise<void> =>
    new Promise((resolve) => {
      let started = 0
      let begin = NOTHING
      const take = (size: number): boolean => {
        const chunk = buffer.subarray(0, size)
        const answer = begin.length === 0 ? chunk : Buffer.concat([begin, chunk])
        const length = lengthOf(answer)
        if (length === undefined || answer.length < length) {
          begin = Buffer.from(answer)
          return true
        }
        const ended = performance.now()
        const status = answer.toString('latin1', 9, 12)
        statuses[status] = (statuses[status] ?? 0) + 1
        if (ended >= from && ended <= until) latencies.push(ended - started)
        begin = NOTHING
        send()
        return true
      }
      // One buffer for all that a connection reads: a stream of new ones would be half of the work here.
      const buffer = Buffer.alloc(READ_BYTES)
      const onread = { buffer, callback: take }
      const socket = connect({ host: '127.0.0.1', port: options.port, noDelay: true, onread })
      const send = (): void => {
        started = performance.now()
        if (started >= until) socket.end()
        else socket.write(request)
      }
      socket.on('connect', send)
      socket.on('error', (error) => {
        failure ??= error.message
      })
      socket.on('close', () => resolve())
    })
  await Promise.all(Array.from({ length: options.connections }, connection))

  const ascending = sorted(latencies)
  return {
    perSecond: latencies.length / (options.measureMs / 1_000),
    p50Ms: percentile(ascending, 0.5),
    p99Ms: percentile(ascending, 0.99),
    statuses,
    ...(failure !== undefined && { failure }),
  }
}

function requestOf({ port, path, headers, body }: HttpLoad): Buffer {
  const all = {
    host: `127.0.0.1:${port}`,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...headers,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`)
}

/** Length of the answer; undefined while its head is incomplete. Both servers answer with a content-length. */
function lengthOf(answer: Buffer): number | undefined {
  const end = answer.indexOf(END_OF_HEAD)
  if (end < 0) return undefined
  const at = answer.indexOf(CONTENT_LENGTH)
  if (at < 0 || at > end)
    throw new Error(`an answer without content-length: ${answer.toString('latin1', 0, end)}`)
  const from = at + CONTENT_LENGTH.length
  return end + END_OF_HEAD.length + Number.parseInt(answer.toString('latin1', from, from + 10), 10)
}

process.once('disconnect', () => process.exit(1))
process.send?.(await load(JSON.parse(process.argv[2] ?? '{}') as HttpLoad))
