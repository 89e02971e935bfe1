import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface SeenRequest {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Answers the `number`-th request (from 1 since the last `reset`); doing nothing keeps the caller waiting. */
export type Answer = (response: ServerResponse, request: SeenRequest, number: number) => void

export interface Upstream {
  /** `http://127.0.0.1:<port>`. */
  readonly url: string
  /** Every request since the last `reset`, in the order in which they came whole. */
  readonly requests: SeenRequest[]
  /** Forgets the requests and answers differently from now on. */
  reset(answer: Answer): void
  close(): Promise<void>
}

/** A real HTTP server in the place of a provider or a product. */
export async function startUpstream(first: Answer = json(200, {})): Promise<Upstream> {
  const requests: SeenRequest[] = []
  let answer = first
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const { method = '', url = '', headers } = request
    const seen = { method, url, headers, body: Buffer.concat(chunks).toString('utf8') }
    requests.push(seen)
    answer(response, seen, requests.length)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    reset: (next) => {
      requests.length = 0
      answer = next
    },
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** One and the same JSON answer. */
export const json =
  (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Answer =>
  (response) =>
    void response
      .writeHead(status, { 'content-type': 'application/json', ...headers })
      .end(JSON.stringify(body))

/** The answers in their order; the last one stays. */
export const oneAfterTheOther =
  (...answers: readonly [Answer, ...Answer[]]): Answer =>
  (response, request, number) =>
    (answers[number - 1] ?? answers.at(-1))?.(response, request, number)

/** Never answers. */
export const silence: Answer = () => undefined
