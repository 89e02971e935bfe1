import { Client } from 'pg'
import type { Log } from '../log.ts'
import { roleSetting, startOptions } from './database-roles.ts'
import { run } from './statement.ts'

/** Hints between processes over Postgres NOTIFY. They may be lost: whoever listens also polls. */
export interface Notifications {
  /**
   * Calls `handle` with each payload of the channel, and with undefined whenever the channel begins to be listened
   * to, for the first time and after a lost connection: anything may have been missed before. Returns the way to
   * stop listening.
   */
  listen(channel: string, handle: (payload: string | undefined) => void): () => void
  close(): Promise<void>
}

/** Sends a hint; inside a transaction it goes out with the commit. Never on the enqueue path (DESIGN §7.7). */
export const notify = run<{ readonly channel: string; readonly payload: string }>(
  'notifications.notify',
  'select pg_notify($1, $2)',
  ({ channel, payload }) => [channel, payload],
)

const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5_000

/** One connection of its own for LISTEN, reconnected for ever with growing, jittered pauses. */
export function createNotifications(options: {
  readonly url: string
  readonly applicationName: string
  readonly log: Log
}): Notifications {
  const handlers = new Map<string, Set<(payload: string | undefined) => void>>()
  let client: Client | undefined
  /** The client once every channel of the map is listened to. */
  let connected: Client | undefined
  /** One statement at a time: pg takes no second one before the first has ended. */
  let lastListen = Promise.resolve()
  let retry: NodeJS.Timeout | undefined
  let failures = 0
  let closed = false

  const connect = async (): Promise<void> => {
    const next = new Client({
      connectionString: options.url,
      application_name: `${options.applicationName} notifications`,
      keepAlive: true,
      options: startOptions(roleSetting('service')),
    })
    next.on('error', () => reconnect(next))
    next.on('end', () => reconnect(next))
    next.on('notification', ({ channel, payload }) => {
      for (const handle of handlers.get(channel) ?? []) handle(payload)
    })
    client = next
    try {
      await next.connect()
      for (const channel of handlers.keys()) await next.query(`listen ${next.escapeIdentifier(channel)}`)
      connected = next
    } catch (error) {
      options.log.debug({ err: error }, 'the notification connection could not be opened')
      reconnect(next)
      return
    }
    failures = 0
    for (const channel of handlers.keys()) tellOfGap(channel)
  }

  const tellOfGap = (channel: string): void => {
    for (const handle of handlers.get(channel) ?? []) handle(undefined)
  }

  const reconnect = (lost: Client): void => {
    if (closed || lost !== client) return
    client = undefined
    connected = undefined
    lost.end().catch(() => undefined)
    failures += 1
    const ceiling = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures, 10))
    retry = setTimeout(() => void connect(), ceiling * (0.5 + Math.random() / 2))
  }

  const subscribe = (on: Client, channel: string): Promise<void> => {
    lastListen = lastListen
      .then(() => on.query(`listen ${on.escapeIdentifier(channel)}`))
      .then(
        () => tellOfGap(channel),
        // The connection is lost; its `end` event leads to `reconnect`, which listens to everything again.
        () => undefined,
      )
    return lastListen
  }

  void connect()

  return {
    listen: (channel, handle) => {
      const set = handlers.get(channel) ?? new Set()
      if (!handlers.has(channel)) {
        handlers.set(channel, set)
        // While it connects or is lost: `connect` listens to every channel of the map.
        if (connected) void subscribe(connected, channel)
      }
      set.add(handle)
      return () => set.delete(handle)
    },
    close: async () => {
      closed = true
      clearTimeout(retry)
      await client?.end().catch(() => undefined)
    },
  }
}
