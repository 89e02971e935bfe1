import type { Clock } from '../platform/clock.ts'
import { type Notifications, notify } from '../platform/db/notifications.ts'
import type { Queryable } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import type { Log } from '../platform/log.ts'
import { type LaneKey, QUEUES, type QueueName } from './job.ts'

/**
 * Tells workers which lanes got work. Only a hint: whoever misses it finds the work by looking around, so
 * nothing here is durable and nothing here runs inside a transaction (DESIGN §7.7: a NOTIFY in the enqueue
 * transaction makes commits wait for each other).
 */
export interface WakeUp {
  /** Call after the commit. Workers of this process hear it at once, others within some 5 ms. */
  hint(lanes: readonly LaneKey[]): void
  /** `undefined` = anything may have been missed: look around. Returns the way to stop. */
  subscribe(listener: (lanes: readonly LaneKey[] | undefined) => void): () => void
  /** Sends what is still waiting. */
  close(): Promise<void>
}

export interface WakeUpOptions {
  readonly db: Queryable
  readonly notifications: Notifications
  readonly clock: Clock
  readonly log: Log
}

const CHANNEL = 'orchestrator_ready'
/** One NOTIFY per this time: each takes a lock that all notifying commits of the database share. */
const DEBOUNCE_MS = 5
/** Postgres allows 8,000 bytes; above this the message just says "look around". */
const MAX_PAYLOAD = 7_500

/** One per Node process, shared by what enqueues and what runs there. */
export function createWakeUp({ db, notifications, clock, log }: WakeUpOptions): WakeUp {
  const origin = newId()
  const listeners = new Set<(lanes: readonly LaneKey[] | undefined) => void>()
  const pending = new Set<string>()
  let sending: Promise<void> | undefined
  let stopListening: (() => void) | undefined
  const closing = new AbortController()

  // The first hint goes out at once, what follows is gathered for the debounce time.
  const send = async (): Promise<void> => {
    while (pending.size > 0) {
      const payload = encode(origin, [...pending])
      pending.clear()
      await notify(db, { channel: CHANNEL, payload }).catch((err: unknown) =>
        log.debug({ err }, 'a wake-up was not sent; workers find the jobs by looking around'),
      )
      await clock.sleep(DEBOUNCE_MS, closing.signal).catch(() => undefined)
    }
    sending = undefined
  }

  return {
    hint: (lanes) => {
      if (lanes.length === 0) return
      for (const listener of listeners) listener(lanes)
      if (closing.signal.aborted) return
      for (const lane of lanes) pending.add(laneName(lane))
      sending ??= send()
    },
    subscribe: (listener) => {
      listeners.add(listener)
      stopListening ??= notifications.listen(CHANNEL, (payload) => {
        const lanes = payload === undefined ? undefined : decode(origin, payload)
        if (lanes?.length !== 0) for (const each of listeners) each(lanes)
      })
      return () => {
        listeners.delete(listener)
      }
    },
    close: async () => {
      closing.abort()
      stopListening?.()
      await sending
    },
  }
}

/** One text per lane, for sets and maps. */
export const laneName = ({ queue, tenantId, lane }: LaneKey): string => `${QUEUES[queue]}:${tenantId}:${lane}`

function encode(origin: string, names: readonly string[]): string {
  const full = [origin, ...names].join(' ')
  return full.length <= MAX_PAYLOAD ? full : `${origin} *`
}

/** The lanes of a message of another process; [] for our own, undefined for "look around" and for the unreadable. */
function decode(origin: string, payload: string): LaneKey[] | undefined {
  const [sender, ...names] = payload.split(' ')
  if (sender === origin) return []
  const queues = Object.keys(QUEUES) as QueueName[]
  const lanes: LaneKey[] = []
  for (const name of names) {
    const [number = '', tenantId, lane] = name.split(':')
    const queue = queues[Number(number)]
    if (queue === undefined || !tenantId || !lane) return undefined
    lanes.push({ queue, tenantId, lane: Number(lane) })
  }
  return lanes
}
