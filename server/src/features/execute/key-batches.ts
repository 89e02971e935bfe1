/** Of the statements on keys: more rows than 24 hardly lower the cost of each (research/performance.md §5c). */
export const BATCHES = { maxRows: 100, maxInFlight: 3, enough: 24 }

interface OfKey {
  readonly tenantId: string
  readonly key: string
}

/** An order that all processes share: batches with the same keys wait for each other instead of deadlocking. */
export const byKey = (a: OfKey, b: OfKey): number => compare(a.tenantId, b.tenantId) || compare(a.key, b.key)

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
