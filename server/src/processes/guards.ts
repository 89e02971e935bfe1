/** What one Node process has once, however many hub processes run in it: the memory of the rules. Wiring only. */
import { createBreakerCare } from '../features/breakers/breakers.ts'
import { createEventHints } from '../features/events/events.ts'
import { createGuards, type Guards } from '../features/guards/guards.ts'
import { watchEventLoop } from '../platform/event-loop.ts'
import type { Platform } from '../platform/platform.ts'
import { createLoadShed, type LoadShed } from '../resilience/load-shed.ts'
import type { SharedStore } from '../resilience/stores/store.ts'

export interface NodeLoadShed {
  readonly loadShed: LoadShed
  close(): void
}

/** Watches the event loop, which all hub processes of a Node process share. */
export function openLoadShed({ clock, log }: Pick<Platform, 'clock' | 'log'>): NodeLoadShed {
  const loadShed = createLoadShed({
    clock,
    onLevel: (level, delayMs) =>
      log.warn({ level, delay_ms: Math.round(delayMs) }, 'the level of load shedding has changed'),
  })
  const stop = watchEventLoop({ clock, onReading: loadShed.heard })
  return { loadShed, close: stop }
}

export interface NodeGuards {
  readonly guards: Guards
  close(): Promise<void>
}

/** Opens the rules for a Node process that makes calls. */
export function openGuards(
  platform: Pick<Platform, 'clock' | 'log' | 'random' | 'db' | 'notifications'>,
  store: SharedStore,
): NodeGuards {
  const { clock, random, db, log } = platform
  const shed = openLoadShed(platform)
  const care = createBreakerCare(platform, { onWritten: createEventHints(db, log) })
  const { loadShed } = shed
  const guards = createGuards({ clock, random, store, loadShed, onTransition: care.heard })
  void care.start(guards.breakers)
  return {
    guards,
    close: async () => {
      shed.close()
      guards.breakers.close()
      await care.close()
    },
  }
}
