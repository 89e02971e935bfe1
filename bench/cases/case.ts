import type { Where } from '../sides/side.ts'

export type Scale = 'full' | 'quick'

/** One measurement of one participant in one round, in a process of its own. */
export interface Run extends Where {
  readonly participant: string
  readonly scale: Scale
  /** The same database as superuser: for counters of the server. */
  readonly adminUrl: string
  /** Main processes of the servers that do the work: Postgres, or this participant's Redis. */
  readonly serverPids: readonly number[]
  /** Arguments for Node in processes that do the work, e.g. for a profile. */
  readonly nodeArgs: readonly string[]
  /** An empty folder, removed afterwards. */
  readonly folder: string
}

export interface Sample {
  readonly metrics: Readonly<Record<string, number>>
  /** Why the numbers do not count: failed or lost jobs, counts that do not match. Empty = they count. */
  readonly problems: readonly string[]
}

export interface Metric {
  readonly key: string
  readonly title: string
  readonly unit: string
  readonly better: 'higher' | 'lower'
  /** How much rounds may differ (largest by smallest) before no ratio is printed. */
  readonly steadiness: number
}

/** Rates and medians of a shared machine drift by ±30 % (research/performance.md §0); tails by more. */
export const RATE = { unit: '/s', better: 'higher', steadiness: 2 } as const
export const MEDIAN_MS = { unit: 'ms', better: 'lower', steadiness: 2.5 } as const
export const TAIL_MS = { unit: 'ms', better: 'lower', steadiness: 6 } as const

/** Processor time of the measuring process and the servers, per job. */
export const CPU: readonly Metric[] = [
  { key: 'cpu', title: 'CPU per job', unit: 'µs', better: 'lower', steadiness: 2 },
  { key: 'cpuServer', title: 'of it the database', unit: 'µs', better: 'lower', steadiness: 2 },
]

/** A goal of the issue. With `against`: ours divided by the best of those; without: the value itself. */
export interface Goal {
  readonly metric: string
  readonly of: string
  readonly against?: readonly string[]
  /** Another metric of the one it is compared with; absent = the same. */
  readonly againstMetric?: string
  readonly atLeast?: number
  readonly atMost?: number
}

export interface Case {
  readonly id: string
  readonly title: string
  readonly participants: readonly string[]
  readonly metrics: readonly Metric[]
  readonly goals: readonly Goal[]
  /** A measurement that takes longer is ended and counts as failed. */
  readonly limitMs: Readonly<Record<Scale, number>>
  measure(run: Run): Promise<Sample>
}
