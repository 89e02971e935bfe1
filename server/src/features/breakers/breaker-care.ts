import { notify } from '../../platform/db/notifications.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Breakers, BreakerTransition } from '../../resilience/breakers.ts'
import { type BreakerRow, listLiveBreakers, saveTransitions, type TransitionRow } from './breakers.sql.ts'

/** Tells processes that a breaker was forced or released. */
export const BREAKER_CHANNEL = 'orchestrator_breaker'
/** NOTIFY tells at once; the poll finds what a lost hint did not tell. */
const POLL_MS = 5_000
const RETRY_MS = 1_000
/** Of an outage of the database the last ones are kept: only they are still true. */
const MAX_WAITING = 1_000

/** Keeps the breakers of a process and their rows in step. */
export interface BreakerCare {
  /** Takes a change of state; its row and its event are written soon. Never throws, never waits. */
  heard(transition: BreakerTransition): void
  /**
   * Gives the breakers what is open and what is forced, and from now on what changes. Resolves when they know; without
   * a database at once, and they hear of it later.
   */
  start(breakers: Breakers): Promise<void>
  close(): Promise<void>
}

export function createBreakerCare(
  platform: Pick<Platform, 'db' | 'notifications' | 'log' | 'clock'>,
  { onWritten, pollMs = POLL_MS }: { readonly onWritten?: () => void; readonly pollMs?: number } = {},
): BreakerCare {
  const { db, notifications, log, clock } = platform
  const closing = new AbortController()
  const waiting: BreakerTransition[] = []
  let writing: Promise<void> | undefined
  let forced = new Map<string, BreakerRow>()
  let unlisten = (): void => undefined
  let timer: NodeJS.Timeout | undefined

  const writeAll = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting.splice(0)
      try {
        await saveTransitions(db, { transitions: batch.map(rowOf) })
        onWritten?.()
      } catch (err) {
        log.warn({ err, transitions: batch.length }, 'changes of breakers could not be stored')
        if (closing.signal.aborted) break
        waiting.unshift(...batch)
        waiting.splice(0, Math.max(0, waiting.length - MAX_WAITING))
        await clock.sleep(RETRY_MS, closing.signal).catch(() => undefined)
      }
    }
    writing = undefined
  }

  /** What an operator forces, and what he no longer does. */
  const obey = (breakers: Breakers, rows: readonly BreakerRow[]): void => {
    const now = new Map(rows.filter((row) => row.forced).map((row) => [nameOf(row), row]))
    for (const [name, row] of forced)
      if (!now.has(name)) breakers.setForced(row.tenant_id, row.connector, undefined)
    for (const [name, row] of now) {
      if (!row.forced || row.forced_ms === null || sameForce(forced.get(name), row)) continue
      const force = { state: row.forced, forMs: row.forced_ms, why: row.forced_why ?? '' }
      breakers.setForced(row.tenant_id, row.connector, force)
    }
    forced = now
  }

  return {
    heard: (transition) => {
      // Whoever told this process of it writes it.
      if (transition.heard) return
      waiting.push(transition)
      writing ??= writeAll()
    },
    start: async (breakers) => {
      let first = true
      const look = async (): Promise<void> => {
        const rows = await listLiveBreakers(db, {})
        if (first)
          breakers.restore(
            rows.flatMap(({ tenant_id: group, connector: key, open_ms: forMs, shadow, why }) =>
              forMs === null || shadow ? [] : [{ group, key, forMs, why }],
            ),
          )
        first = false
        obey(breakers, rows)
      }
      const lookAgain = (): Promise<void> =>
        look().catch((err: unknown) => log.debug({ err }, 'the breakers could not be read'))
      unlisten = notifications.listen(BREAKER_CHANNEL, () => void lookAgain())
      timer = setInterval(() => void lookAgain(), pollMs).unref()
      await lookAgain()
    },
    close: async () => {
      unlisten()
      clearInterval(timer)
      closing.abort()
      await writing
    },
  }
}

const nameOf = ({ tenant_id, connector }: BreakerRow): string => `${tenant_id} ${connector}`

const sameForce = (before: BreakerRow | undefined, now: BreakerRow): boolean =>
  before !== undefined &&
  before.forced === now.forced &&
  before.forced_until?.getTime() === now.forced_until?.getTime()

const EVENTS = { open: 'breaker.opened', half_open: 'breaker.half_opened', closed: 'breaker.closed' } as const

function rowOf(transition: BreakerTransition): TransitionRow {
  const { group, key, from, to, why, openMs, openUntil, shadow } = transition
  return {
    tenant_id: group,
    connector: key,
    state: to,
    open_ms: openMs ?? null,
    why,
    shadow,
    event: {
      tenant_id: group,
      type: EVENTS[to],
      severity: to === 'open' && !shadow ? 'warning' : 'info',
      connector: key,
      message: messageOf(transition),
      data: {
        from,
        shadow,
        ...(openUntil !== undefined && { open_until: new Date(openUntil).toISOString() }),
      },
    },
  }
}

function messageOf({ to, why, openMs = 0, shadow }: BreakerTransition): string {
  const reason = `${why.charAt(0).toUpperCase()}${why.slice(1)}`
  if (to === 'half_open') return `${reason}: one call at a time passes.`
  if (to === 'closed') return `${reason}: calls pass again.`
  const seconds = Math.round(openMs / 1_000)
  return shadow
    ? `${reason}: calls would be refused for ${seconds} s if the policy enforced it.`
    : `${reason}: calls are refused for ${seconds} s.`
}

/** Tells the processes to look; inside the transaction that forces or releases. */
export const tellBreakers = (on: Parameters<typeof notify>[0], tenantId: string): ReturnType<typeof notify> =>
  notify(on, { channel: BREAKER_CHANNEL, payload: tenantId })
