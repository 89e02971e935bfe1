import type { Case, Goal, Metric, Scale } from './cases/case.ts'
import type { Measured } from './one-measurement.ts'
import { judge, type Spread, spreadOf, type Verdict, valuesOf } from './verdict.ts'

export interface CaseResult {
  readonly of: Case
  readonly measured: readonly Measured[]
}

export interface RunFacts {
  readonly startedAt: string
  readonly commit: string
  readonly scale: Scale
  readonly rounds: number
  readonly machine: Readonly<Record<string, string>>
  readonly postgres: Readonly<Record<string, string>>
  readonly versions: Readonly<Record<string, string>>
  readonly configurations: Readonly<Record<string, string>>
  /** Rows that could not be measured, with the reason. */
  readonly missing: readonly string[]
}

const NOISY_CORES = 0.2

/** Three significant digits, thousands as k. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (Math.abs(value) >= 100_000) return `${Math.round(value / 1_000)}k`
  if (Math.abs(value) >= 10_000) return `${(value / 1_000).toFixed(1)}k`
  if (Math.abs(value) >= 1_000) return `${(value / 1_000).toFixed(2)}k`
  return Number(value.toPrecision(3)).toString()
}

const withRange = ({ median, min, max, rounds }: Spread, unit = ''): string =>
  rounds === 1 ? `${number(median)}${unit}` : `${number(median)}${unit} (${number(min)}–${number(max)})`

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n')
}

function cell(measured: readonly Measured[], participant: string, { key }: Metric): string {
  const values = [...valuesOf(measured, participant, key).values()]
  return values.length === 0 ? '' : withRange(spreadOf(values))
}

/** One line for a person: what was wanted, what came out. */
export function goalLine({ goal, metric, with: other, value, refused, met }: Verdict): string[] {
  const what = `${goal.of} ${metric.title}${other ? ` ÷ ${other}` : ''}`
  const unit = other ? '×' : ` ${metric.unit}`
  if (refused !== undefined) return [what, wanted(goal, unit), 'no ratio', refused]
  const verdict = met === undefined ? 'for information' : met ? 'met' : 'MISSED'
  return [what, wanted(goal, unit), value ? withRange(value, unit) : '', verdict]
}

function wanted({ atLeast, atMost }: Goal, unit: string): string {
  if (atLeast !== undefined) return `≥ ${atLeast}${unit}`
  return atMost === undefined ? '' : `≤ ${atMost}${unit}`
}

/** The section of one case: values by participant, then goals. */
export function caseSection({ of, measured }: CaseResult): string {
  const names = of.participants.filter((name) => measured.some(({ participant }) => participant === name))
  const head = [
    '',
    ...of.metrics.map(({ title, unit }) => (unit ? `${title} ${unit}` : title)),
    'failed rounds',
  ]
  const rows = names.map((name) => {
    const failed = measured.filter(({ participant, problems }) => participant === name && problems.length > 0)
    return [
      name,
      ...of.metrics.map((metric) => cell(measured, name, metric)),
      failed.length ? String(failed.length) : '',
    ]
  })
  const problems = measured.flatMap(({ participant, round, problems: all }) =>
    all.map((problem) => `- **${participant}, round ${round}: ${problem.split('\n')[0]}**`),
  )
  const noisy = measured.filter(({ foreignCores }) => foreignCores > NOISY_CORES)
  const noise =
    noisy.length === 0
      ? []
      : [
          `Noise: beside ${noisy.length} of ${measured.length} measurements other programs used up to ${Math.max(
            ...noisy.map(({ foreignCores }) => foreignCores),
          ).toFixed(1)} cores.`,
        ]
  const verdicts = judge(of, measured)
  return [
    `## (${of.id}) ${of.title}`,
    table(head, rows),
    ...(problems.length > 0 ? [problems.join('\n')] : []),
    ...(verdicts.length > 0 ? [table(['ratio', 'goal', 'result', 'verdict'], verdicts.map(goalLine))] : []),
    ...noise,
  ].join('\n\n')
}

const facts = (title: string, entries: Readonly<Record<string, string>>): string =>
  `${title}: ${Object.entries(entries)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')}.`

/** The whole report as Markdown. */
export function reportOf(run: RunFacts, results: readonly CaseResult[]): string {
  return `${[
    `# Bench of ${run.startedAt}`,
    [
      `Commit ${run.commit}, ${run.scale} run, ${run.rounds} ${run.rounds === 1 ? 'round' : 'rounds'}, participants of a case interleaved, every other round in reverse. Values are medians (smallest–largest); ratios are made inside each round.`,
      facts('Machine', run.machine),
      facts('Postgres', run.postgres),
      facts('Versions', run.versions),
    ].join('\n'),
    table(['side', 'configuration'], Object.entries(run.configurations)),
    ...run.missing.map((what) => `**MISSING: ${what}**`),
    ...results.map(caseSection),
  ].join('\n\n')}\n`
}
