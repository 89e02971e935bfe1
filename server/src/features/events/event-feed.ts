import type { Platform } from '../../platform/platform.ts'
import { findNews } from './events.sql.ts'
import { EVENTS_CHANNEL } from './events.ts'
import { interruptibleSleep } from './interruptible-sleep.ts'

/** One reader that waits for events of one tenant. */
export interface Follower {
  /**
   * True as soon as there may be events that were not visible at the last call; false after `withinMs`.
   * A true without events is possible, an event without a true is not. Rejects with the signal's reason.
   */
  news(withinMs: number, signal: AbortSignal): Promise<boolean>
  stop(): void
}

export interface EventFeed {
  /** Follow first, read then: events between the two are reported. */
  follow(tenantId: string): Follower
  close(): Promise<void>
}

interface Followed {
  /** Events of transactions from here on have not been reported. */
  since: string
  readonly wakers: Set<() => void>
}

/** Keeps a storm of hints from becoming a storm of queries. */
const SHORTEST_PAUSE_MS = 20
const PAUSE_AFTER_FAILURE_MS = 1_000

/**
 * One poller for all followers of a process: each round is one statement that names the tenants with news. It
 * runs every `pollMs` while anybody follows, and at once on a hint; hints may be lost, polls may not.
 */
export function createEventFeed(
  platform: Pick<Platform, 'db' | 'notifications' | 'clock' | 'log'>,
  { pollMs }: { readonly pollMs: number },
): EventFeed {
  const { db, clock, log } = platform
  const tenants = new Map<string, Followed>()
  const closing = new AbortController()
  let hinted = false
  let wakePoller: (() => void) | undefined
  let polling: Promise<void> | undefined

  const stopListening = platform.notifications.listen(EVENTS_CHANNEL, () => {
    hinted = true
    wakePoller?.()
  })

  const poll = async (): Promise<void> => {
    const asked = new Map([...tenants].map(([tenantId, { since }]) => [tenantId, since]))
    const { horizon, tenants: withNews } = await findNews(db, { since: asked })
    for (const tenantId of asked.keys()) {
      const followed = tenants.get(tenantId)
      if (followed) followed.since = horizon
    }
    for (const tenantId of withNews) for (const wake of tenants.get(tenantId)?.wakers ?? []) wake()
  }

  const run = async (): Promise<void> => {
    let failing = false
    while (tenants.size > 0 && !closing.signal.aborted) {
      hinted = false
      try {
        await poll()
        failing = false
      } catch (error) {
        if (!failing) log.warn({ err: error }, 'events cannot be polled; streams wait')
        failing = true
      }
      await pause(failing ? PAUSE_AFTER_FAILURE_MS : pollMs).catch(() => undefined)
    }
    polling = undefined
    // Somebody may have come between the check and here.
    start()
  }

  const pause = async (ms: number): Promise<void> => {
    await clock.sleep(Math.min(SHORTEST_PAUSE_MS, ms), closing.signal)
    if (hinted) return
    await interruptibleSleep(clock, ms, closing.signal, (wake) => {
      wakePoller = wake
      return () => {
        wakePoller = undefined
      }
    })
  }

  const start = (): void => {
    if (tenants.size > 0 && !closing.signal.aborted) polling ??= run()
  }

  return {
    follow: (tenantId) => {
      const followed = tenants.get(tenantId) ?? { since: '0', wakers: new Set() }
      tenants.set(tenantId, followed)
      let dirty = false
      let wakeFollower: (() => void) | undefined
      const wake = (): void => {
        dirty = true
        wakeFollower?.()
      }
      followed.wakers.add(wake)
      start()
      return {
        news: async (withinMs, signal) => {
          signal.throwIfAborted()
          if (!dirty)
            await interruptibleSleep(clock, withinMs, signal, (interrupt) => {
              wakeFollower = interrupt
              return () => {
                wakeFollower = undefined
              }
            })
          const news = dirty
          dirty = false
          return news
        },
        stop: () => {
          followed.wakers.delete(wake)
          if (followed.wakers.size > 0 || tenants.get(tenantId) !== followed) return
          tenants.delete(tenantId)
          // Nobody is left: the poller ends now and not after its pause.
          if (tenants.size === 0) wakePoller?.()
        },
      }
    },
    close: async () => {
      closing.abort()
      stopListening()
      await polling
    },
  }
}
