import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CallbackRefused, verifyCallback } from '../sdk/src/callbacks.ts'

/** One delivery as it arrived; `id` is undefined when the verifier of the SDK has refused it. */
export interface Delivery {
  readonly path: string
  readonly id: string | undefined
  readonly eventId: string
  readonly message: { readonly type: string; readonly data: Record<string, unknown> }
  readonly answered: number
}

export interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
}

/** A product that takes callbacks: it verifies each with the SDK and answers as the test says. */
export interface Receiver {
  readonly url: string
  /** Everything that arrived, in order. */
  readonly deliveries: readonly Delivery[]
  /** How it answers on a path from now on; 204 where nothing was said. */
  answer(path: string, reply: Reply): void
  stop(): Promise<void>
}

export async function startReceiver(secret: string): Promise<Receiver> {
  const deliveries: Delivery[] = []
  const replies = new Map<string, Reply>()
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    const path = request.url ?? '/'
    const { status, headers } = replies.get(path) ?? { status: 204 }
    const message = JSON.parse(body.toString('utf8')) as Delivery['message']
    const eventId = String(message.data.event_id)
    deliveries.push({
      path,
      id: verifiedId(body, request.headers, secret),
      eventId,
      message,
      answered: status,
    })
    response.writeHead(status, headers).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    deliveries,
    answer: (path, reply) => void replies.set(path, reply),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function verifiedId(
  body: Buffer,
  headers: NodeJS.Dict<string | string[]>,
  secret: string,
): string | undefined {
  try {
    return verifyCallback(body, headers, [secret]).id
  } catch (error) {
    if (error instanceof CallbackRefused) return undefined
    throw error
  }
}
