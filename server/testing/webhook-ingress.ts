import { type OutgoingHttpHeaders, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { HttpServer } from '../src/platform/http/http-server.ts'
import { createHttpServer } from '../src/platform/http/server.ts'
import type { TestPlatform } from './database.ts'

export interface IngressAnswer {
  readonly status: number
  readonly text: string
  readonly headers: NodeJS.Dict<string | string[]>
}

export interface WebhookIngress {
  /** Sends exactly these bytes and headers; `chunks` goes out without Content-Length. */
  post(
    path: string,
    body: Buffer | { readonly chunks: readonly Buffer[] },
    headers?: OutgoingHttpHeaders,
  ): Promise<IngressAnswer>
  close(): Promise<void>
}

/** A server like that of the ingress process with the routes that `mount` puts there, at a random port. */
export async function webhookIngress(
  { log, metrics }: TestPlatform,
  mount: (app: HttpServer) => void,
): Promise<WebhookIngress> {
  const app = await createHttpServer({
    log,
    metrics,
    trustedProxies: [],
    bodyLimitBytes: 1_000,
    handlerTimeoutMs: 20_000,
    checks: [],
  })
  mount(app)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return {
    post: (path, body, headers = {}) =>
      new Promise((resolve, reject) => {
        const sending = request(
          { host: '127.0.0.1', port, path, method: 'POST', headers, agent: false },
          (response) => {
            const parts: Buffer[] = []
            response.on('data', (part: Buffer) => parts.push(part))
            response.on('end', () =>
              resolve({
                status: response.statusCode ?? 0,
                text: Buffer.concat(parts).toString('utf8'),
                headers: response.headers,
              }),
            )
          },
        )
        // The server closes while we still send when it refuses a body by its size: the answer is what counts.
        sending.on('error', (error) => setImmediate(reject, error))
        if (Buffer.isBuffer(body)) sending.end(body)
        else {
          for (const chunk of body.chunks) sending.write(chunk)
          sending.end()
        }
      }),
    close: () => app.close(),
  }
}
