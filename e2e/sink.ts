import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A request as the upstream got it. */
export interface Effect {
  /** What the job or execution carried as `input.marker`. */
  readonly marker: string
  readonly idempotencyKey: string
  readonly traceparent: string
}

/** An upstream that belongs to nobody of the hub: it lives in the test and survives everything done to the hub. */
export interface Sink {
  readonly url: string
  /** Everything that arrived, in order; repeated attempts are repeated here. */
  readonly effects: readonly Effect[]
  /** Leaves requests with this marker without an answer until `release`. */
  hold(marker: string): void
  /** Answers everything that waits and holds nothing any more. */
  release(): void
  stop(): Promise<void>
}

export async function startSink(): Promise<Sink> {
  const effects: Effect[] = []
  const held = new Set<string>()
  const waiting: (() => void)[] = []
  const answer = (response: ServerResponse, marker: string) =>
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ taken: marker }))
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const { marker } = JSON.parse(Buffer.concat(chunks).toString('utf8')) as { marker: string }
    const { 'idempotency-key': key, traceparent } = request.headers
    effects.push({ marker, idempotencyKey: String(key), traceparent: String(traceparent) })
    if (held.has(marker)) waiting.push(() => answer(response, marker))
    else answer(response, marker)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    effects,
    hold: (marker) => held.add(marker),
    release: () => {
      held.clear()
      for (const send of waiting.splice(0)) send()
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** The sink as a connector of kind `http`: operation `take` with `{marker}`, which takes an idempotency key. */
export const sinkConnector = (url: string) => ({
  kind: 'http',
  settings: {
    base_url: url,
    operations: {
      take: {
        method: 'POST',
        path: '/effects',
        body: { marker: '{{input.marker}}' },
        idempotency_key_header: 'Idempotency-Key',
        input: {
          type: 'object',
          properties: { marker: { type: 'string' } },
          required: ['marker'],
          additionalProperties: false,
        },
        output: { type: 'object', properties: { taken: { type: 'string' } }, required: ['taken'] },
      },
    },
  },
})

/** The body of a job or execution on the connector `sink`. */
export const taking = (marker: string) => ({ connector: 'sink', operation: 'take', input: { marker } })
