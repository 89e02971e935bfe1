import type { BulkheadSettings, Bulkheads, Place } from './bulkhead-places.ts'
import type { CallScope, Next, Stage } from './pipeline.ts'

export interface BulkheadOptions {
  readonly bulkheads: Bulkheads
  /** The workspace. */
  readonly group: string
  /** The connector. */
  readonly key: string
  readonly settings: BulkheadSettings
  /**
   * Told `bulkhead.max_in_flight` or `bulkhead.workspace_max_in_flight` when a shadow rule would have made the call
   * wait or refused it.
   */
  readonly onWouldHave?: (rule: string) => void
}

/**
 * Keeps one slow upstream from taking all places: so many calls at a time per connector and per workspace, a few
 * more wait shortly, the rest is refused (`concurrency_limited`, nothing sent). A shadow rule counts, and
 * makes nobody wait. A call with a free place costs no turn of the event loop.
 */
export function bulkhead(options: BulkheadOptions): Stage {
  const { bulkheads, group, key, settings, onWouldHave } = options
  if (settings.mode === 'off' && settings.workspaceMode === 'off') return (scope, next) => next(scope)
  return (scope, next) => {
    const place = bulkheads.enter(group, key, settings, scope, onWouldHave)
    return place instanceof Promise
      ? place.then((later) => inside(later, scope, next))
      : inside(place, scope, next)
  }
}

async function inside<T>(place: Place, scope: CallScope, next: Next<T>): Promise<T> {
  try {
    return await next(scope)
  } finally {
    place.leave()
  }
}
