import type { Clock } from '../../platform/clock.ts'
import type { Follower } from './event-feed.ts'
import { type EventPosition, type EventSlice, encodePosition, type LoggedEvent } from './events.ts'
import { interruptibleSleep } from './interruptible-sleep.ts'

/** Where the bytes go: an `http.ServerResponse` after its head was written. */
export interface StreamOutput {
  write(text: string): boolean
  once(event: 'drain', listener: () => void): unknown
  removeListener(event: 'drain', listener: () => void): unknown
}

export interface StreamSession {
  readonly output: StreamOutput
  /** The first slice, read by the caller so that its failures are still ordinary answers. */
  readonly first: EventSlice
  readonly read: (after: EventPosition) => Promise<EventSlice>
  /** Rejects when the reader may not go on. */
  readonly mayGoOn: () => Promise<void>
  readonly follower: Follower
  readonly frame: (event: LoggedEvent) => string
  readonly clock: Clock
  /** When the token ends, milliseconds since the epoch. */
  readonly expiresAt: number
  /** Aborted when the client has gone or the process stops. */
  readonly signal: AbortSignal
  readonly heartbeatMs: number
  /** How often an idle stream asks whether it may go on. */
  readonly askMs: number
  /** How long a reader may take nothing before it is cut off. */
  readonly stallMs: number
}

/** Clients wait this long before they connect again (WHATWG HTML §9.2.6, `retry`). */
const RETRY_MS = 2_000

export class StalledReader extends Error {
  constructor() {
    super('the reader of the stream takes nothing')
    this.name = 'StalledReader'
  }
}

/**
 * Writes the frames of one stream until its token expires (resolves), it may not go on or its signal aborts
 * (rejects with the reason). One slice is in memory at a time: nothing more is read before the last one has left for the socket.
 */
export async function pumpEvents(session: StreamSession): Promise<void> {
  const { clock, expiresAt, frame } = session
  let slice = session.first
  await send(session, `retry: ${RETRY_MS}\n\n`)
  for (let announced = false; clock.now() < expiresAt; announced = true) {
    if (slice.events.length > 0) await send(session, slice.events.map(frame).join(''))
    if (slice.complete) {
      // Also a reader that has not seen one event can resume without a gap.
      if (!announced) await send(session, placeFrame(slice.position))
      await news(session, slice.position)
    }
    slice = await session.read(slice.position)
  }
}

/** Waits for something to read, or for the end of the token; keeps the connection alive meanwhile. */
async function news(session: StreamSession, position: EventPosition): Promise<void> {
  const { clock, signal, expiresAt, follower, heartbeatMs, askMs } = session
  let heartbeatAt = clock.now() + heartbeatMs
  for (;;) {
    const wait = Math.min(askMs, heartbeatAt - clock.now(), expiresAt - clock.now())
    if ((await follower.news(Math.max(0, wait), signal)) || clock.now() >= expiresAt) return
    await session.mayGoOn()
    if (clock.now() < heartbeatAt) continue
    await send(session, `: heartbeat\n${placeFrame(position)}`)
    heartbeatAt = clock.now() + heartbeatMs
  }
}

/** One server-sent event; its id resumes the stream after it. */
export const eventFrame = (id: string, document: string): string => `id: ${id}\ndata: ${document}\n\n`

/** Sets the reader's last event id without an event (WHATWG HTML §9.2.6: a block without data dispatches nothing). */
const placeFrame = (position: EventPosition): string => `id: ${encodePosition(position)}\n\n`

/** The last words of a stream that the hub ends; the client connects again and goes on after its last id. */
export const endFrame = (reason: string): string => `event: end\ndata: ${JSON.stringify({ reason })}\n\n`

async function send({ output, clock, signal, stallMs }: StreamSession, text: string): Promise<void> {
  signal.throwIfAborted()
  if (output.write(text)) return
  const drained = await interruptibleSleep(clock, stallMs, signal, (wake) => {
    output.once('drain', wake)
    return () => output.removeListener('drain', wake)
  })
  if (!drained) throw new StalledReader()
}
