/**
 * Whose turn it is, without knowing what waits: deficit round robin over tenants (each turn is worth its weight
 * in jobs), lanes in turn inside a tenant. A tenant with 800,000 jobs costs the others one turn.
 */
export interface Turns<Lane> {
  add(tenantId: string, name: string, lane: Lane): void
  remove(tenantId: string, name: string): void
  weigh(tenantId: string, weight: number): void
  /**
   * The lane that gets the next place; undefined when there is none. One that `may` refuses keeps its turn. A turn
   * is `quantum` jobs per unit of weight.
   */
  next(quantum: number, may: (lane: Lane) => boolean): Lane | undefined
  readonly size: number
}

interface Tenant<Lane> {
  readonly lanes: Map<string, Lane>
  /** Jobs left in the current turn. */
  deficit: number
}

/** Maps are used as rings: they keep insertion order, so "delete and set again" moves an entry to the end. */
export function createTurns<Lane>(): Turns<Lane> {
  const tenants = new Map<string, Tenant<Lane>>()
  const weights = new Map<string, number>()
  let size = 0

  const toTheEnd = <Value>(ring: Map<string, Value>, key: string, value: Value): void => {
    ring.delete(key)
    ring.set(key, value)
  }

  return {
    get size() {
      return size
    },
    weigh: (tenantId, weight) => {
      if (weight === 1) weights.delete(tenantId)
      else weights.set(tenantId, weight)
    },
    add: (tenantId, name, lane) => {
      const tenant = tenants.get(tenantId) ?? { lanes: new Map<string, Lane>(), deficit: 0 }
      tenants.set(tenantId, tenant)
      if (tenant.lanes.has(name)) return
      tenant.lanes.set(name, lane)
      size += 1
    },
    remove: (tenantId, name) => {
      const tenant = tenants.get(tenantId)
      if (!tenant?.lanes.delete(name)) return
      size -= 1
      // What is left of its turn is lost: an idle tenant must not save up turns.
      if (tenant.lanes.size === 0) tenants.delete(tenantId)
    },
    next: (quantum, may) => {
      const [first] = tenants
      if (first === undefined) return undefined
      const [tenantId, tenant] = first
      const [lane] = tenant.lanes
      if (lane === undefined || !may(lane[1])) return undefined
      if (tenant.deficit <= 0) tenant.deficit += quantum * (weights.get(tenantId) ?? 1)
      tenant.deficit -= 1
      if (tenant.deficit <= 0) toTheEnd(tenants, tenantId, tenant)
      toTheEnd(tenant.lanes, ...lane)
      return lane[1]
    },
  }
}
