import type { Counter } from 'prom-client'
import { isTransient } from '../../platform/db/failures.ts'
import type { Platform } from '../../platform/platform.ts'
import type { BreakerTransition } from '../../resilience/breakers.ts'
import { saveTransitions, type TransitionRow } from './breakers.sql.ts'

const RETRY_MS = 1_000
/** Of an outage of the database the last ones are kept: only they are still true. */
const MAX_WAITING = 1_000

/** Writes what breakers did: the row of each, and an event for each change. */
export interface BreakerRecords {
  /** Takes a change of state; its row and its event are written soon. Never throws, never waits. */
  heard(transition: BreakerTransition): void
  /** Resolves when everything is written, or given up because the database is away. */
  close(): Promise<void>
}

export function createBreakerRecords(
  { db, log, clock }: Pick<Platform, 'db' | 'log' | 'clock'>,
  options: {
    readonly onWritten?: (() => void) | undefined
    readonly dropped?: Pick<Counter, 'inc'> | undefined
  },
): BreakerRecords {
  const closing = new AbortController()
  const waiting: BreakerTransition[] = []
  let writing: Promise<void> | undefined

  /**
   * Gives those that have to wait. A batch that the database refuses is halved until the one at fault is alone: the
   * breakers of one workspace must not keep those of all others from being told.
   */
  const write = async (batch: readonly BreakerTransition[]): Promise<readonly BreakerTransition[]> => {
    try {
      await saveTransitions(db, { transitions: batch.map(rowOf) })
      options.onWritten?.()
      return []
    } catch (err) {
      if (isTransient(err)) {
        log.warn({ err, transitions: batch.length }, 'changes of breakers could not be stored')
        return batch
      }
      if (batch.length === 1) {
        options.dropped?.inc()
        log.error(
          { err, tenant_id: batch[0]?.group, connector: batch[0]?.key },
          'a change of a breaker is lost',
        )
        return []
      }
      const half = Math.ceil(batch.length / 2)
      const left = await write(batch.slice(0, half))
      return left.length > 0 ? [...left, ...batch.slice(half)] : write(batch.slice(half))
    }
  }

  const writeAll = async (): Promise<void> => {
    while (waiting.length > 0) {
      const left = await write(waiting.splice(0))
      if (left.length === 0) continue
      if (closing.signal.aborted) break
      waiting.unshift(...left)
      waiting.splice(0, Math.max(0, waiting.length - MAX_WAITING))
      await clock.sleep(RETRY_MS, closing.signal).catch(() => undefined)
    }
    // In the same turn as the last look at `waiting`: what is heard from now on starts anew.
    writing = undefined
  }

  return {
    heard: (transition) => {
      // Whoever told this process of it writes it.
      if (transition.heard) return
      waiting.push(transition)
      writing ??= writeAll()
    },
    close: async () => {
      closing.abort()
      await writing
    },
  }
}

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
