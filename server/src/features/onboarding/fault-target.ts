/**
 * The upstream that the verification calls instead of the product's: it fails as it is told to, and remembers what
 * reached it. Everything of a run stands below `/runs/<run>`, whose name nobody can guess.
 *
 *   GET  ok       answers 200
 *   POST take     answers 200 with what it got; an effect
 *   GET  slow     never answers
 *   POST broken   answers 503 until `POST mend`, then 200
 *   POST callback takes a message
 *   GET  seen     what reached it, oldest first
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface SeenRequest {
  /** The last part of the path: `ok`, `slow`, … */
  readonly name: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface FaultTarget {
  readonly url: string
  close(): Promise<void>
}

interface RunState {
  readonly seen: SeenRequest[]
  mended: boolean
}

const MAX_BODY_BYTES = 65_536
const MAX_RUNS = 100
const MAX_SEEN = 500
const PATH = /^\/runs\/([0-9a-f-]{36})\/(ok|take|slow|broken|callback|mend|seen)$/
const KEPT_HEADERS = /^(webhook-.*|idempotency-key|traceparent|x-orchestrator-.*)$/

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

const keptHeaders = (request: IncomingMessage): Record<string, string> =>
  Object.fromEntries(
    Object.entries(request.headers).flatMap(([name, value]) =>
      KEPT_HEADERS.test(name) && typeof value === 'string' ? [[name, value]] : [],
    ),
  )

/** Starts it. Port 0 = any that is free. */
export async function startFaultTarget(listen: {
  readonly host: string
  readonly port: number
}): Promise<FaultTarget> {
  const runs = new Map<string, RunState>()
  const stateOf = (run: string): RunState => {
    const known = runs.get(run)
    if (known) return known
    const made: RunState = { seen: [], mended: false }
    const oldest = runs.size >= MAX_RUNS ? runs.keys().next().value : undefined
    if (oldest !== undefined) runs.delete(oldest)
    runs.set(run, made)
    return made
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const say = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    const [, run, name] = PATH.exec(request.url?.split('?')[0] ?? '') ?? []
    if (run === undefined || name === undefined) return say(404, { error: 'not found' })
    const state = stateOf(run)
    if (name === 'seen') return say(200, { seen: state.seen })
    if (name === 'mend') {
      state.mended = true
      return say(200, { mended: true })
    }
    const body = await readBody(request)
    if (body === undefined || state.seen.length >= MAX_SEEN) return say(413, { error: 'too much' })
    state.seen.push({ name, headers: keptHeaders(request), body })
    // No answer: whoever asks gives up and closes.
    if (name === 'slow') return
    if (name === 'broken' && !state.mended) return say(503, { error: 'broken on purpose' })
    say(200, { ok: true, took: name === 'take' ? body : '' })
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(listen.port, listen.host, resolve)
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
