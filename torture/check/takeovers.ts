import type { Disturbance } from '../history.ts'
import type { Ledger } from './ledger.ts'

export interface TakeoverFigures {
  readonly kills: number
  /** Jobs that a killed worker held and somebody started again. */
  readonly jobs: number
  /** From the kill to the next start, in ms; null when there was none. */
  readonly p50: number | null
  readonly p99: number | null
  readonly max: number | null
}

/** How long the jobs of a killed worker waited for their next start. */
export function measureTakeovers(ledger: Ledger, kinds: readonly Disturbance[] = ['kill']): TakeoverFigures {
  const kills = ledger.history.troubles.filter(
    ({ kind, target }) => kinds.includes(kind) && target.startsWith('worker-'),
  )
  const waits: number[] = []
  for (const attempt of ledger.history.tables.attempts) {
    if (attempt.outcome !== 'lost') continue
    const process = ledger.processOf(attempt.node)
    const kill = kills.find(
      ({ target, from }) => target === process && from >= attempt.started && from <= attempt.ended,
    )
    const next = ledger.attemptsOf(attempt.job).find(({ started }) => started >= attempt.ended)
    if (kill && next) waits.push(next.started - kill.from)
  }
  return {
    kills: kills.length,
    jobs: waits.length,
    p50: percentile(waits, 0.5),
    p99: percentile(waits, 0.99),
    max: percentile(waits, 1),
  }
}

/** The smallest value that this share of the values does not exceed (nearest rank); null of none. */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null
}
