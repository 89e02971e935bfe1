import { describe, expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import type { Notifications } from '../platform/db/notifications.ts'
import type { Queryable } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { createLog } from '../platform/log.ts'
import type { LaneKey } from './job.ts'
import { createWakeUp } from './wake-up.ts'

/** Channels in memory: what one wake-up sends, every other one hears. */
function wire() {
  const clock = manualClock()
  const handlers = new Set<(payload: string | undefined) => void>()
  const sent: string[] = []
  let failing = false
  const db = {
    execute: async (_statement: unknown, [, payload]: readonly unknown[]) => {
      if (failing) throw new Error('the database is away')
      sent.push(String(payload))
      for (const handle of handlers) handle(String(payload))
      return { rows: [], rowCount: 1 }
    },
  } as unknown as Queryable
  const notifications: Notifications = {
    listen: (_channel, handle) => {
      handlers.add(handle)
      return () => handlers.delete(handle)
    },
    close: async () => undefined,
  }
  const listener = () => {
    const heard: (LaneKey[] | undefined)[] = []
    const wakeUp = createWakeUp({ db, notifications, clock, log: createLog('test', 'silent') })
    wakeUp.subscribe((lanes) => heard.push(lanes && [...lanes]))
    return { heard, wakeUp }
  }
  const fail = (value: boolean) => {
    failing = value
  }
  const reconnect = () => {
    for (const handle of handlers) handle(undefined)
  }
  return { clock, sent, listener, fail, reconnect }
}

const tenantId = newId()
const lane = (number: number): LaneKey => ({ queue: 'webhook', tenantId, lane: number })

describe('createWakeUp', () => {
  test('reaches this process at once and others by one message per 5 ms', async () => {
    const { clock, sent, listener } = wire()
    const [near, far] = [listener(), listener()]
    for (const number of [1, 2, 3, 3]) near.wakeUp.hint([lane(number)])
    expect(near.heard).toEqual([1, 2, 3, 3].map((number) => [lane(number)]))
    await clock.whenSleeping()
    // The first one does not wait, the others share the next message.
    expect(far.heard).toEqual([[lane(1)]])
    await clock.advance(4)
    expect(sent).toHaveLength(1)
    await clock.advance(1)
    expect(far.heard).toEqual([[lane(1)], [lane(2), lane(3)]])
    expect(sent).toHaveLength(2)
    // Its own messages tell the sender nothing new.
    expect(near.heard).toHaveLength(4)
  })

  test('a message too long for Postgres says "look around"; so do a lost connection and nonsense', async () => {
    const { clock, sent, listener, reconnect } = wire()
    const [near, far] = [listener(), listener()]
    near.wakeUp.hint(Array.from({ length: 1_000 }, (_, number) => lane(number)))
    await clock.whenSleeping()
    expect(Buffer.byteLength(sent[0] ?? '')).toBeLessThan(8_000)
    expect(far.heard).toEqual([undefined])
    reconnect()
    expect(far.heard).toEqual([undefined, undefined])
  })

  test('goes on after a message that could not be sent', async () => {
    const { clock, listener, fail } = wire()
    const [near, far] = [listener(), listener()]
    fail(true)
    near.wakeUp.hint([lane(1)])
    await clock.whenSleeping()
    fail(false)
    near.wakeUp.hint([lane(2)])
    await clock.advance(5)
    expect(far.heard).toEqual([[lane(2)]])
  })

  test('sends what waits before it closes', async () => {
    const { clock, listener } = wire()
    const [near, far] = [listener(), listener()]
    near.wakeUp.hint([lane(1)])
    await clock.whenSleeping()
    near.wakeUp.hint([lane(2)])
    await near.wakeUp.close()
    expect(far.heard).toEqual([[lane(1)], [lane(2)]])
  })
})
