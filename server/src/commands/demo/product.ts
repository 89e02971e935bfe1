import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { verifyCallback } from '@orchestrator/sdk/callbacks'

/** A callback as the product got it. */
export interface ReceivedCallback {
  /** `webhook-id`: the same on every attempt of one delivery. */
  readonly id: string
  readonly type: string
  readonly verified: boolean
  readonly answered: number
  readonly at: Date
  readonly traceparent: string | undefined
}

/** The small product of the demo: an upstream for /execute and a receiver of callbacks, on a real port. */
export interface DemoProduct {
  readonly url: string
  readonly received: readonly ReceivedCallback[]
  /** Charges that were made: a key is charged once. */
  readonly charges: number
  /** `/callbacks/down` takes callbacks from now on. */
  recover(): void
  stop(): Promise<void>
}

const MAX_BODY_BYTES = 1_048_576
/** How often `/callbacks/flaky` refuses each delivery before it takes it. */
const FLAKY_REFUSALS = 2

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) throw new Error('the body is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/**
 * Listens on 127.0.0.1. `GET /quotes/:currency` answers a price, `POST /charges` makes a charge. `POST /callbacks/ok` takes a signed callback,
 * `/callbacks/flaky` answers 503 twice first, `/callbacks/down` until it recovers. A bad signature answers 401.
 */
export async function startDemoProduct(options: {
  readonly port: number
  readonly signingSecret: string
}): Promise<DemoProduct> {
  const received: ReceivedCallback[] = []
  const charged = new Set<string>()
  let isDown = true

  const takeCallback = async (path: string, request: IncomingMessage, response: ServerResponse) => {
    const body = await readBody(request)
    const headers = request.headers as Record<string, string>
    let verified = true
    try {
      verifyCallback(body, headers, [options.signingSecret])
    } catch {
      verified = false
    }
    const id = headers['webhook-id'] ?? ''
    const refusals = received.filter((callback) => callback.id === id && callback.answered === 503).length
    const busy =
      (path === '/callbacks/down' && isDown) || (path === '/callbacks/flaky' && refusals < FLAKY_REFUSALS)
    const answered = !verified ? 401 : busy ? 503 : 200
    const { type = '' } = JSON.parse(body.toString('utf8')) as { type?: string }
    received.push({ id, type, verified, answered, at: new Date(), traceparent: headers.traceparent })
    answer(response, answered, { taken: answered === 200 })
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = request.url?.split('?')[0] ?? ''
    const currency = /^\/quotes\/([A-Z]{3})$/.exec(path)?.[1]
    if (request.method === 'GET' && currency)
      answer(response, 200, { currency, price: 42, traceparent: request.headers.traceparent ?? null })
    else if (request.method === 'POST' && path === '/charges') {
      charged.add(String(request.headers['idempotency-key'] ?? charged.size))
      answer(response, 201, { charge: `ch_${charged.size}` })
    } else if (request.method === 'POST' && /^\/callbacks\/(ok|flaky|down)$/.test(path))
      await takeCallback(path, request, response)
    else answer(response, 404, { error: 'not found' })
  }

  const server: Server = createServer((request, response) => {
    handle(request, response).catch(() => answer(response, 400, { error: 'bad request' }))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    get charges() {
      return charged.size
    },
    recover: () => {
      isDown = false
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
