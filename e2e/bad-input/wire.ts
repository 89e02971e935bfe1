import { Agent, type OutgoingHttpHeaders, request } from 'node:http'

/** One request, byte for byte: nothing of it is normalised on its way out. */
export interface Wire {
  readonly method: string
  /** As it stands in the request line, query included. */
  readonly path: string
  readonly headers?: OutgoingHttpHeaders
  readonly body?: string | Buffer
}

export interface Answer {
  readonly status: number
  readonly headers: NodeJS.Dict<string | string[]>
  readonly text: string
}

export interface Schema {
  readonly [keyword: string]: unknown
}

export interface Parameter {
  readonly name: string
  readonly in: 'query' | 'path' | 'header'
  readonly required?: boolean
  readonly schema: Schema
}

export interface Operation {
  readonly operationId: string
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> }
  readonly security?: readonly object[]
  readonly description?: string
  readonly responses: Readonly<Record<string, { readonly description?: string }>>
}

/** As much of an OpenAPI document as the matrix reads. */
export interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
}

const agent = new Agent({ keepAlive: true, maxSockets: 16 })

/** Sends one request and reads the answer to its end; of an event stream only the head. */
export function send(url: string, { method, path, headers = {}, body }: Wire): Promise<Answer> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const chunked = 'transfer-encoding' in headers
    const length = body === undefined || chunked ? {} : { 'content-length': Buffer.byteLength(body) }
    const sending = request(
      { hostname, port, method, path, agent, headers: { ...length, ...headers } },
      (response) => {
        const parts: Buffer[] = []
        const done = (): void =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: Buffer.concat(parts).toString('utf8'),
          })
        if (String(response.headers['content-type']).startsWith('text/event-stream')) {
          done()
          sending.destroy()
          return
        }
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('end', done)
        response.on('error', reject)
      },
    )
    sending.on('error', reject)
    sending.end(body)
  })
}
