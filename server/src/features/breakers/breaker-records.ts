import type { Counter } from 'prom-client'
import { isTransient } from '../../platform/db/failures.ts'
import type { Platform } from '../../platform/platform.ts'
import { createWriteBehind } from '../../platform/write-behind.ts'
import type { BreakerTransition } from '../../resilience/breakers.ts'
import { saveTransitions, type TransitionRow } from './breakers.sql.ts'

/** Of an outage of the database the last ones are kept: only they are still true. */
const MAX_WAITING = 1_000

/** Writes what breakers did: the row of each, and an event for each change. */
export interface BreakerRecords {
  /** Takes a change of state; its row and its event are written soon. Never throws, never waits. */
  heard(transition: BreakerTransition): void
  /** Resolves when everything is written, or given up after some attempts. */
  close(): Promise<void>
}

export function createBreakerRecords(
  { db, log, clock }: Pick<Platform, 'db' | 'log' | 'clock'>,
  options: {
    readonly onWritten?: (() => void) | undefined
    readonly dropped?: Pick<Counter, 'inc'> | undefined
  },
): BreakerRecords {
  const behind = createWriteBehind<BreakerTransition>({
    clock,
    log,
    what: 'changes of breakers',
    dropped: options.dropped,
    write: async (batch) => {
      await saveTransitions(db, { transitions: batch.map(rowOf) })
      options.onWritten?.()
    },
    isFault: (error) => !isTransient(error),
    factsOf: ({ group, key }) => ({ tenant_id: group, connector: key }),
    maxBatch: MAX_WAITING,
    maxWaiting: MAX_WAITING,
    gatherMs: 0,
  })
  return {
    // Whoever told this process of a change writes it.
    heard: (transition) => {
      if (!transition.heard) behind.add(transition)
    },
    close: behind.close,
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
