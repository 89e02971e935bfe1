import { Client } from 'pg'
import type { Log } from '../log.ts'
import { run } from './statement.ts'

/** Hints between processes over Postgres NOTIFY. They may be lost: whoever listens also polls. */
export interface Notifications {
  /**
   * Calls `handle` with each payload of the channel, and with undefined after the connection was lost and
   * found again, because anything may have been missed. Returns the way to stop listening.
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
  let retry: NodeJS.Timeout | undefined
  let failures = 0
  let closed = false

  const connect = async (): Promise<void> => {
    const next = new Client({
      connectionString: options.url,
      application_name: `${options.applicationName} notifications`,
      keepAlive: true,
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
    } catch (error) {
      options.log.debug({ err: error }, 'the notification connection could not be opened')
      reconnect(next)
      return
    }
    if (failures > 0) for (const set of handlers.values()) for (const handle of set) handle(undefined)
    failures = 0
  }

  const reconnect = (lost: Client): void => {
    if (closed || lost !== client) return
    client = undefined
    lost.end().catch(() => undefined)
    failures += 1
    const ceiling = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures, 10))
    retry = setTimeout(() => void connect(), ceiling * (0.5 + Math.random() / 2))
  }

  void connect()

  return {
    listen: (channel, handle) => {
      const set = handlers.get(channel) ?? new Set()
      if (!handlers.has(channel)) {
        handlers.set(channel, set)
        // Not connected yet or lost: `connect` listens to every channel of the map.
        client?.query(`listen ${client.escapeIdentifier(channel)}`).catch(() => undefined)
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
