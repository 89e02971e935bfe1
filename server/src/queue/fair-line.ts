import type { ClaimedJob } from './job.ts'

/** Jobs that wait for a place: tenants in turn, each with its first job first. */
export interface FairLine {
  add(job: ClaimedJob, nowMs: number): void
  /** Takes the next one out. */
  next(): ClaimedJob | undefined
  /** Takes this one out, if it is here. */
  remove(leaseId: number): ClaimedJob | undefined
  /** Takes out all that were added at this time or before. */
  removeUntil(ms: number): ClaimedJob[]
  readonly size: number
}

interface Waiting {
  readonly job: ClaimedJob
  readonly sinceMs: number
}

/**
 * Without turns a job of a small tenant would wait for all that a big one had claimed ahead of it. Maps are used as
 * rings, as in `turns.ts`.
 */
export function createFairLine(): FairLine {
  const tenants = new Map<string, Map<number, Waiting>>()
  let size = 0

  const remove = (tenantId: string, leaseId: number): ClaimedJob | undefined => {
    const line = tenants.get(tenantId)
    const found = line?.get(leaseId)
    if (!line || !found) return undefined
    size -= 1
    line.delete(leaseId)
    if (line.size === 0) tenants.delete(tenantId)
    return found.job
  }

  return {
    get size() {
      return size
    },
    add: (job, nowMs) => {
      const line = tenants.get(job.tenantId) ?? new Map<number, Waiting>()
      tenants.set(job.tenantId, line.set(job.leaseId, { job, sinceMs: nowMs }))
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
