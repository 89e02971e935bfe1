import type { ClaimedJob } from './job.ts'

/** A claimed job that waits for a place; times are monotonic milliseconds. */
export interface Waiting {
  readonly job: ClaimedJob
  readonly sinceMs: number
  readonly readySinceMs: number
  /** From here on it must not start; Infinity = no limit. */
  readonly expiresMs: number
}

/** Jobs that wait for a place: tenants in turn, each with its first job first. */
export interface FairLine {
  add(waiting: Waiting): void
  /** Takes the next one out. */
  next(): Waiting | undefined
  /** Takes this one out, if it is here. */
  remove(leaseId: number): Waiting | undefined
  /** Takes out all that wait since this time or longer. */
  removeUntil(ms: number): Waiting[]
  readonly size: number
}

/**
 * Without turns a job of a small tenant would wait for all that a big one had claimed ahead of it. Maps are used as
 * rings, as in `turns.ts`.
 */
export function createFairLine(): FairLine {
  const tenants = new Map<string, Map<number, Waiting>>()
  let size = 0

  const remove = (tenantId: string, leaseId: number): Waiting | undefined => {
    const line = tenants.get(tenantId)
    const found = line?.get(leaseId)
    if (!line || !found) return undefined
    size -= 1
    line.delete(leaseId)
    if (line.size === 0) tenants.delete(tenantId)
    return found
  }

  return {
    get size() {
      return size
    },
    add: (waiting) => {
      const { tenantId, leaseId } = waiting.job
      const line = tenants.get(tenantId) ?? new Map<number, Waiting>()
      tenants.set(tenantId, line.set(leaseId, waiting))
      size += 1
    },
    next: () => {
      for (const [tenantId, line] of tenants) {
        tenants.delete(tenantId)
        tenants.set(tenantId, line)
        for (const leaseId of line.keys()) return remove(tenantId, leaseId)
      }
      return undefined
    },
    remove: (leaseId) => {
      for (const [tenantId, line] of tenants) if (line.has(leaseId)) return remove(tenantId, leaseId)
      return undefined
    },
    removeUntil: (ms) => {
      const old = [...tenants.values()].flatMap((line) => [...line.values()])
      return old
        .filter(({ sinceMs }) => sinceMs <= ms)
        .flatMap(({ job }) => remove(job.tenantId, job.leaseId) ?? [])
    },
  }
}
