import type { Case, Goal, Metric } from './cases/case.ts'
import type { Measured } from './one-measurement.ts'
import { median } from './statistics.ts'

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly rounds: number
}

export interface Verdict {
  readonly goal: Goal
  readonly metric: Metric
  /** What ours was compared with. */
  readonly with: string
  readonly value?: Spread
  /** Why there is no value. */
  readonly refused?: string
  readonly met?: boolean
}

export const spreadOf = (values: readonly number[]): Spread => ({
  median: median(values),
  min: Math.min(...values),
  max: Math.max(...values),
  rounds: values.length,
})

/** Values of one metric by round; a failed measurement has none. */
export function valuesOf(
  measured: readonly Measured[],
  participant: string,
  key: string,
): Map<number, number> {
  const values = new Map<number, number>()
  for (const { participant: who, round, metrics, problems } of measured) {
    const value = metrics[key]
    if (who === participant && problems.length === 0 && value !== undefined) values.set(round, value)
  }
  return values
}

/** Judges every goal of a case. A ratio is made of values of the same round only. */
export function judge(of: Case, measured: readonly Measured[]): Verdict[] {
  return of.goals.map((goal) => {
    const metric = of.metrics.find(({ key }) => key === goal.metric)
    if (!metric) throw new Error(`case ${of.id} has no metric ${goal.metric}`)
    return goal.against ? judgeRatio(goal, metric, measured) : judgeValue(goal, metric, measured)
  })
}

function judgeValue(goal: Goal, metric: Metric, measured: readonly Measured[]): Verdict {
  const base = { goal, metric, with: '' }
  const refused = whyNot(goal.of, metric, goal.metric, measured)
  if (refused) return { ...base, refused }
  const value = spreadOf([...valuesOf(measured, goal.of, goal.metric).values()])
  return { ...base, value, ...verdictOn(goal, value) }
}

function judgeRatio(goal: Goal, metric: Metric, measured: readonly Measured[]): Verdict {
  const key = goal.againstMetric ?? goal.metric
  const present = (goal.against ?? []).filter((name) =>
    measured.some(({ participant }) => participant === name),
  )
  const base = { goal, metric, with: present.join(', ') }
  if (present.length === 0) return { ...base, with: (goal.against ?? []).join(', '), refused: 'not measured' }
  const problem =
    whyNot(goal.of, metric, goal.metric, measured) ??
    present.map((name) => whyNot(name, metric, key, measured)).find((why) => why !== undefined)
  if (problem) return { ...base, refused: problem }
  const best = bestOf(present, metric, key, measured)
  const ours = valuesOf(measured, goal.of, goal.metric)
  const theirs = valuesOf(measured, best, key)
  const ratios = [...ours].flatMap(([round, value]) => {
    const other = theirs.get(round)
    return other === undefined ? [] : [value / other]
  })
  const value = spreadOf(ratios)
  return {
    ...base,
    with: present.length > 1 ? `${best} (best of ${present.length})` : best,
    value,
    ...verdictOn(goal, value),
  }
}

function bestOf(
  names: readonly string[],
  metric: Metric,
  key: string,
  measured: readonly Measured[],
): string {
  const sign = metric.better === 'higher' ? 1 : -1
  const score = (name: string) => sign * median([...valuesOf(measured, name, key).values()])
  return names.reduce((best, name) => (score(name) > score(best) ? name : best))
}

/** Failed or missing measurements, or rounds that differ so much that their median says nothing. */
function whyNot(who: string, metric: Metric, key: string, measured: readonly Measured[]): string | undefined {
  const own = measured.filter(({ participant }) => participant === who)
  const failed = own.find(({ problems }) => problems.length > 0)
  if (failed) return `${who} failed in round ${failed.round}: ${failed.problems[0]?.split('\n')[0]}`
  const values = [...valuesOf(measured, who, key).values()]
  if (values.length === 0) return `${who} was not measured`
  if (values.some((value) => !Number.isFinite(value) || value <= 0))
    return `${who} gave no usable ${metric.title}`
  const apart = Math.max(...values) / Math.min(...values)
  if (apart > metric.steadiness)
    return `rounds of ${who} differ by ${apart.toFixed(1)}× (more than ${metric.steadiness}×)`
  return undefined
}

function verdictOn({ atLeast, atMost }: Goal, { median: value }: Spread): { met?: boolean } {
  if (atLeast === undefined && atMost === undefined) return {}
  return { met: value >= (atLeast ?? -Infinity) && value <= (atMost ?? Infinity) }
}
