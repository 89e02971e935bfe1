import type { AttemptRow, Trouble } from '../history.ts'
import type { Ledger } from './ledger.ts'

/** In ms; null of nothing. */
export interface Spread {
  readonly count: number
  readonly p50: number | null
  readonly p99: number | null
  readonly max: number | null
}

export interface TakeoverFigures {
  /** Of workers. */
  readonly kills: number
  /** From the kill to the moment when the job was taken from the dead worker. */
  readonly rescued: Spread
  /** From the kill to the next start, where no cap applies: a job may start as soon as it is rescued. */
  readonly started: Spread
  /** The same for workspaces and connectors with a cap, whose jobs also wait for a place behind others. */
  readonly startedUnderCap: Spread
}

/** How long the jobs of killed workers waited. */
export function measureTakeovers(ledger: Ledger): TakeoverFigures {
  const { tables, troubles } = ledger.history
  const kills = troubles.filter(({ kind, target }) => kind === 'kill' && target.startsWith('worker-'))
  const rescued: number[] = []
  const started = { free: [] as number[], capped: [] as number[] }
  const jobs = new Map(tables.jobs.map((job) => [job.id, job]))
  for (const attempt of tables.attempts) {
    const kill = attempt.outcome === 'lost' ? killOf(ledger, attempt, kills) : undefined
    if (!kill) continue
    rescued.push(attempt.ended - kill.from)
    const next = ledger.attemptsOf(attempt.job).find((later) => later.started >= attempt.ended)
    const connector = jobs.get(attempt.job)?.connector
    const capped = ledger.history.caps.some(
      (cap) => cap.tenant === attempt.tenant && (cap.connector === null || cap.connector === connector),
    )
    if (next) started[capped ? 'capped' : 'free'].push(next.started - kill.from)
  }
  return {
    kills: kills.length,
    rescued: spreadOf(rescued),
    started: spreadOf(started.free),
    startedUnderCap: spreadOf(started.capped),
  }
}

const killOf = (ledger: Ledger, { node, started, ended }: AttemptRow, kills: readonly Trouble[]) =>
  kills.find(({ target, from }) => target === ledger.processOf(node) && from >= started && from <= ended)

/**
 * Leases that nobody worked on: the claim was committed, but its answer never reached the worker. They leave no
 * attempt, only the trace of having been seen. How long they lived is known to about a second.
 */
export function measureLostClaims({ history }: Ledger): Spread {
  const { attempts, places } = history.tables
  const ended = new Set(attempts.map(({ lease }) => lease))
  const running = new Set(places.filter(({ place }) => place === 'run').map(({ job }) => job))
  return spreadOf(
    history.leases
      .filter(({ lease, job }) => !ended.has(lease) && !running.has(job))
      .map(({ started, seen }) => seen - started),
  )
}

const spreadOf = (values: readonly number[]): Spread => ({
  count: values.length,
  p50: percentile(values, 0.5),
  p99: percentile(values, 0.99),
  max: percentile(values, 1),
})

/** The smallest value that this share of the values does not exceed (nearest rank); null of none. */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null
}
