/** What one Node process has once, however many hub processes run in it: the memory of the rules. Wiring only. */
import { createBreakerCare } from '../features/breakers/breakers.ts'
import { createEventHints } from '../features/events/events.ts'
import { createGuards, type Guards } from '../features/guards/guards.ts'
import { watchEventLoop } from '../platform/event-loop.ts'
import { createMetrics, type Metrics } from '../platform/metrics.ts'
import type { Platform } from '../platform/platform.ts'
import type { BreakerTransition } from '../resilience/breakers.ts'
import { createLoadShed, type LoadShed, type Work } from '../resilience/load-shed.ts'
import type { SharedStore } from '../resilience/stores/store.ts'
import { exposeMetrics } from './expose-metrics.ts'

export interface NodeLoadShed {
  readonly loadShed: LoadShed
  /** Adds its metrics to those of a process. */
  exposeOn(metrics: Metrics): void
  close(): void
}

/** Watches the event loop, which all hub processes of a Node process share. */
export function openLoadShed({ clock, log }: Pick<Platform, 'clock' | 'log'>): NodeLoadShed {
  const metrics = createMetrics('load shedding', false)
  const current = metrics.gauge('load_shed_level', 'What is refused now: 0 nothing, 4 everything')
  const refused = metrics.counter('load_shed_refusals_total', 'Work that was refused under load', ['work'])
  const loadShed = createLoadShed({
    clock,
    onLevel: (level, delayMs) => {
      current.set(level)
      log.warn({ level, delay_ms: Math.round(delayMs) }, 'the level of load shedding has changed')
    },
    onRefused: (work: Work) => refused.inc({ work }),
  })
  const stop = watchEventLoop({ clock, onReading: loadShed.heard })
  return { loadShed, exposeOn: (other) => exposeMetrics(metrics, other), close: stop }
}

export interface NodeGuards {
  readonly guards: Guards
  exposeOn(metrics: Metrics): void
  close(): Promise<void>
}

/** Opens the rules for a Node process that makes calls. */
export function openGuards(
  platform: Pick<Platform, 'clock' | 'log' | 'random' | 'db' | 'notifications'>,
  store: SharedStore,
): NodeGuards {
  const { clock, random, db, log } = platform
  const metrics = createMetrics('guards', false)
  const transitions = metrics.counter('breaker_transitions_total', 'Changes of circuit breakers', [
    'to',
    'shadow',
  ])
  const shed = openLoadShed(platform)
  const dropped = metrics.counter(
    'breaker_records_dropped_total',
    'Changes of breakers that are lost: the database refused them',
  )
  const care = createBreakerCare(platform, { onWritten: createEventHints(db, log), dropped })
  const onTransition = (transition: BreakerTransition): void => {
    transitions.inc({ to: transition.to, shadow: String(transition.shadow) })
    care.heard(transition)
  }
  const guards = createGuards({ clock, random, store, loadShed: shed.loadShed, onTransition })
  void care.start(guards.breakers)
  return {
    guards,
    exposeOn: (other) => {
      exposeMetrics(metrics, other)
      shed.exposeOn(other)
    },
    close: async () => {
      shed.close()
      guards.breakers.close()
      await care.close()
    },
  }
}
