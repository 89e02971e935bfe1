import type { Log } from '../../platform/log.ts'
import type { Metrics } from '../../platform/metrics.ts'
import type { MemoryStore } from './memory.ts'
import type { Charge, Charged, SharedOpening, SharedStore } from './store.ts'

/** A store that may be gone: what returns a promise rejects then, at once or within its short limit. */
export interface RemoteStore {
  readonly ready: boolean
  /** How many nodes live, as last known; at least 1. */
  readonly nodes: number
  /** Called after each change of `ready`. Returns the way to stop. */
  onChange(listener: (ready: boolean) => void): () => void
  charge(group: string, charges: readonly Charge[]): Promise<Charged>
  shareOpening(opening: SharedOpening): void
  /** Hears the other nodes only. */
  onOpening(listener: (opening: SharedOpening) => void): () => void
  opening(group: string, key: string): Promise<SharedOpening | undefined>
  endOpening(group: string, key: string): void
  takeProbe(group: string, key: string, leaseMs: number): Promise<boolean>
  endProbe(group: string, key: string): void
  close(): Promise<void>
}

/**
 * A shared store that goes on alone while the remote one is gone: each node then holds its part of every limit,
 * limit / nodes, in memory. It never lets everything pass, and never waits for a server that is known to be gone.
 *
 * Openings always go through memory too: who listens in this Node process hears them with or without the remote.
 */
export function createDegradingStore(options: {
  readonly remote: RemoteStore
  readonly local: MemoryStore
  readonly log: Log
  readonly metrics: Metrics
}): SharedStore {
  const { remote, local, log, metrics } = options
  const degraded = metrics.gauge(
    'shared_store_degraded',
    'Whether this node counts limits alone (1), because the shared store is gone, or with all nodes (0)',
  )
  degraded.set(remote.ready ? 0 : 1)
  const stopWatching = remote.onChange((ready) => {
    degraded.set(ready ? 0 : 1)
    if (ready) log.info('limits and breakers are shared between the nodes again')
    else log.warn({ nodes: remote.nodes }, 'limits are counted by each node alone: limit / nodes')
  })
  const stopHearing = remote.onOpening(local.shareOpening)
  const chargeAlone = (group: string, charges: readonly Charge[]) =>
    local.charge(group, partOf(charges, remote.nodes))

  return {
    charge: (group, charges) => {
      if (!remote.ready) return chargeAlone(group, charges)
      return remote.charge(group, charges).catch(() => chargeAlone(group, charges))
    },

    shareOpening: (opening) => {
      local.shareOpening(opening)
      if (remote.ready) remote.shareOpening(opening)
    },
    onOpening: local.onOpening,
    opening: (group, key) => {
      if (!remote.ready) return local.opening(group, key)
      return remote.opening(group, key).catch(() => local.opening(group, key))
    },
    endOpening: (group, key) => {
      local.endOpening(group, key)
      if (remote.ready) remote.endOpening(group, key)
    },

    takeProbe: (group, key, leaseMs) => {
      if (!remote.ready) return local.takeProbe(group, key, leaseMs)
      return remote.takeProbe(group, key, leaseMs).catch(() => local.takeProbe(group, key, leaseMs))
    },
    endProbe: (group, key) => {
      local.endProbe(group, key)
      if (remote.ready) remote.endProbe(group, key)
    },

    close: async () => {
      stopWatching()
      stopHearing()
      await remote.close()
      await local.close()
    },
  }
}

/**
 * This node's part of the limits. The period grows instead of the permits shrinking, which keeps them whole. The
 * burst is not cut below 1, nor below what the call costs: a call that has room in the whole limit must not wait for
 * ever because the shared store is gone.
 */
function partOf(charges: readonly Charge[], nodes: number): readonly Charge[] {
  if (nodes === 1) return charges
  return charges.map((charge) => {
    const { permits, periodMs, burst } = charge.limit
    const part = Math.max(1, Math.floor(burst / nodes), Math.min(charge.cost, burst))
    const reserve = Math.floor(((charge.reserve ?? 0) * part) / burst)
    return { ...charge, reserve, limit: { permits, periodMs: periodMs * nodes, burst: part } }
  })
}
