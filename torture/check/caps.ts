import type { CapRow } from '../history.ts'
import type { Ledger } from './ledger.ts'

export interface CapFigures {
  readonly tenant: string
  readonly connector: string | null
  readonly cap: number
  /** Most leases that existed at once, by `job_attempt` and `job_run`. Must not be above the cap. */
  readonly leases: number
  /** Most effects at the sink at once whose lease was alive. Must not be above the cap. */
  readonly effects: number
  /**
   * Most effects at the sink at once, those included whose lease had been taken away while the sink was still at
   * it (a paused worker's): nobody can call them back, so this one may be above the cap.
   */
  readonly withOrphans: number
}

interface Interval {
  readonly from: number
  readonly to: number
}

/**
 * Caps, from two sides. From inside a lease counts from its claim to its settlement or rescue; both times are
 * taken by the database within the statements that hold the tenant's lock or delete the row, so more leases than
 * the cap at one instant mean that a claim counted wrongly. From outside the sink sees only the part of a lease in
 * which a request runs, and cannot know that a lease was taken away: its intervals are cut at the end of the lease.
 */
export function checkCaps(ledger: Ledger): { readonly figures: CapFigures[]; readonly over: string[] } {
  const figures = ledger.history.caps.map((cap) => figuresOf(ledger, cap))
  const over = figures.flatMap(({ tenant, connector, cap, leases, effects }) => {
    const name = `${connector === null ? 'workspace' : `${connector} of workspace`} ${tenant}`
    const faults: string[] = []
    if (leases > cap) faults.push(`${name}: ${leases} leases at once, the cap is ${cap}`)
    if (effects > cap) faults.push(`${name}: ${effects} effects at once, the cap is ${cap}`)
    return faults
  })
  return { figures, over }
}

function figuresOf(ledger: Ledger, { tenant, connector, max }: CapRow): CapFigures {
  const { tables } = ledger.history
  const leases: Interval[] = []
  const effects: Interval[] = []
  const orphans: Interval[] = []
  const running = new Map(
    tables.places.flatMap(({ job, started }) => (started === null ? [] : [[job, started]])),
  )
  for (const job of tables.jobs) {
    if (job.tenant !== tenant || (connector !== null && job.connector !== connector)) continue
    for (const { started, ended } of ledger.attemptsOf(job.id)) leases.push({ from: started, to: ended })
    const started = running.get(job.id)
    if (started !== undefined) leases.push({ from: started, to: tables.readAt })
    for (const request of ledger.requestsOf(job.id)) {
      const to = request.end ?? tables.readAt
      orphans.push({ from: request.start, to })
      const attempt = ledger.attemptOf(job.id, request)
      if (attempt) effects.push({ from: request.start, to: Math.min(to, attempt.ended) })
    }
  }
  return {
    tenant,
    connector,
    cap: max,
    leases: mostAtOnce(leases),
    effects: mostAtOnce(effects),
    withOrphans: mostAtOnce(orphans),
  }
}

/** An interval that ends when another begins does not overlap it. */
export function mostAtOnce(intervals: readonly Interval[]): number {
  const steps = intervals.flatMap(({ from, to }) =>
    to > from
      ? [
          { at: from, by: 1 },
          { at: to, by: -1 },
        ]
      : [],
  )
  steps.sort((a, b) => a.at - b.at || a.by - b.by)
  let now = 0
  let most = 0
  for (const { by } of steps) {
    now += by
    most = Math.max(most, now)
  }
  return most
}
