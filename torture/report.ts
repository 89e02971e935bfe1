import { FAULTS, type Fault, type Verdict } from './checker.ts'

const MOST_SENTENCES = 5

const seconds = (ms: number | null): string => (ms === null ? '–' : `${(ms / 1_000).toFixed(1)} s`)
const counts = (of: Readonly<Record<string, number>>): string =>
  Object.entries(of)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ') || 'none'

/** The command that does the same again. */
export const repeatCommand = ({ seed, seconds: long }: Pick<Verdict, 'seed' | 'seconds'>): string =>
  `npm run torture -- --seed ${seed} --minutes ${Number((long / 60).toFixed(2))}`

/** The figures as Markdown, which reads well in a terminal, too. */
export function reportOf(verdict: Verdict): string {
  const { sends, states, effects, takeover, faults } = verdict
  const rows: [string, string][] = [
    ['sent', `${sends.sent} (${sends.tries} requests)`],
    ['acknowledged (202)', String(sends.accepted)],
    ['refused / not sent', `${sends.refused} / ${sends.notSent}`],
    ['unknown (no answer, or 5xx)', `${sends.unknown.all}, of which ${sends.unknown.stored} were stored`],
    ['jobs at the end', counts(states)],
    ['effects at the sink', `${effects.effects} of ${effects.requests} requests`],
    ['effects repeated, by cause', counts(effects.duplicates)],
    ['stale settlements refused', String(verdict.staleRefused)],
    [
      'takeover of a killed worker’s jobs',
      verdict.hurried
        ? `${takeover.jobs} jobs; not measured, the run was hurried`
        : `${takeover.jobs} jobs of ${takeover.kills} kills: p50 ${seconds(takeover.p50)}, p99 ${seconds(takeover.p99)}, max ${seconds(takeover.max)}`,
    ],
    ['troubles', counts(verdict.troubles)],
  ]
  return [
    `# Torture: ${verdict.sound ? 'sound' : 'NOT SOUND'}, seed ${verdict.seed}, ${Math.round(verdict.seconds)} s of load`,
    '',
    table(['figure', 'value'], rows),
    '',
    table(
      ['must be 0', 'found', 'meaning'],
      (Object.entries(FAULTS) as [Fault, string][]).map(([fault, meaning]) => [
        fault,
        String(faults[fault].length),
        meaning,
      ]),
    ),
    '',
    'Caps: leases from `job_attempt` and `job_run`, effects as the sink saw them while the lease lived. The last',
    'column counts also effects whose lease had been taken away while the sink was at them; no cap can call those back.',
    '',
    table(
      ['workspace', 'lane', 'cap', 'leases at once', 'effects at once', 'with orphans'],
      verdict.caps.map(({ tenant, lane, cap, leases, effects: at, withOrphans }) => [
        tenant.slice(-6),
        lane === null ? 'all' : String(lane),
        ...[cap, leases, at, withOrphans].map(String),
      ]),
    ),
    '',
    ...(Object.entries(faults) as [Fault, readonly string[]][]).flatMap(([fault, sentences]) =>
      sentences.length === 0 ? [] : [`## ${fault}`, '', ...listOf(sentences), ''],
    ),
    `Repeat: \`${repeatCommand(verdict)}\`. The seed decides load and chaos; the operating system decides the rest.`,
    '',
  ].join('\n')
}

const listOf = (sentences: readonly string[]): string[] => [
  ...sentences.slice(0, MOST_SENTENCES).map((sentence) => `- ${sentence}`),
  ...(sentences.length > MOST_SENTENCES ? [`- and ${sentences.length - MOST_SENTENCES} more`] : []),
]

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, at) => Math.max(...[head, ...rows].map((row) => (row[at] ?? '').length)))
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}
