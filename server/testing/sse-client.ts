import { type IncomingMessage, request } from 'node:http'
import { vi } from 'vitest'

export interface SseEvent {
  readonly id: string
  readonly event: string
  readonly data: string
}

export interface SseStream {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  /** Dispatched events so far, as a browser would dispatch them. */
  readonly events: SseEvent[]
  /** What a browser would send as `Last-Event-ID` when it connects again. */
  lastEventId(): string
  /** Everything received, comments included. */
  text(): string
  /** True when the server has ended the answer or the connection. */
  ended(): boolean
  /** Waits until `count` events have come. */
  received(count: number): Promise<readonly SseEvent[]>
  /** Stops and goes on reading from the socket. */
  pause(): void
  resume(): void
  /** Drops the connection without a word, as a network failure does. */
  drop(): void
}

/** A client for server-sent events that reads them by the rules of WHATWG HTML §9.2.6. */
export async function openSse(url: string, headers: Readonly<Record<string, string>>): Promise<SseStream> {
  const call = request(url, { headers: { ...headers, accept: 'text/event-stream' }, agent: false })
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    call.once('response', resolve).once('error', reject)
    call.end()
  })
  const events: SseEvent[] = []
  let all = ''
  let rest = ''
  let lastEventId = headers['last-event-id'] ?? ''
  let ended = false
  // A dropped connection is an error of the response; the tests look at `ended`.
  response.on('error', () => undefined)
  response.once('close', () => {
    ended = true
  })
  response.setEncoding('utf8')
  response.on('data', (chunk: string) => {
    all += chunk
    rest += chunk
    const blocks = rest.split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) dispatch(block)
  })

  const dispatch = (block: string): void => {
    const fields = { event: 'message', data: '' }
    for (const line of block.split('\n')) {
      const [, name, value = ''] = /^([a-z]+): ?(.*)$/.exec(line) ?? []
      if (name === 'id') lastEventId = value
      if (name === 'event' || name === 'data') fields[name] = value
    }
    if (fields.data !== '') events.push({ id: lastEventId, ...fields })
  }

  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    events,
    lastEventId: () => lastEventId,
    text: () => all,
    ended: () => ended,
    received: (count) =>
      vi.waitFor(
        () => {
          if (events.length < count) throw new Error(`${events.length} of ${count} events have come`)
          return events
        },
        { timeout: 20_000, interval: 10 },
      ),
    pause: () => void response.pause(),
    resume: () => void response.resume(),
    drop: () => void call.destroy(),
  }
}
